"""`Objective`: the loss of a task and the scores of its models, by what a target is."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from initsearch.dotted import import_path
from initsearch.errors import ConfigError, unknown_name
from initsearch.tasks.data.examples import TargetKind

#: Losses by name, `loss(output, target)`, means over all targets. Those of classes take outputs with the
#: classes along the second axis.
CLASS_LOSSES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {"cross_entropy": F.cross_entropy}
NUMBER_LOSSES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": F.mse_loss,
    "l1": F.l1_loss,
    "huber": F.huber_loss,
}
#: The scores that a task of each kind gives.
SCORES: Mapping[TargetKind, tuple[str, ...]] = {
    "class": ("accuracy", "balanced_accuracy", "loss"),
    "tokens": ("accuracy", "bits_per_token", "loss"),
    "numbers": ("mse", "rmse", "psnr", "loss"),
}


@dataclass(frozen=True)
class TargetScale:
    """How targets that are numbers were standardised, and how far they reach.

    Attributes:
        std: Standard deviation of each output's targets, float64 (outputs,).
        span: The largest target minus the smallest, of the whole data set.
    """

    std: Tensor
    span: float


@dataclass(frozen=True)
class Objective:
    """What is minimised, and what is measured.

    Scores of classes: `accuracy` and `balanced_accuracy` (the mean over classes of the share of right answers)
    in [0, 1]. Of tokens: `accuracy`, `bits_per_token` (the cross-entropy in bits). Of numbers: `mse` in
    standardised targets, which is the share of the variance that is not explained; `rmse` in the targets' own
    unit; `psnr` in dB, 10 log10(span^2 / mean squared error). `loss` is the training loss.

    Attributes:
        kind: What a target is.
        loss: A name of `CLASS_LOSSES` or `NUMBER_LOSSES`, `auto` for the first of these, or a dotted path to a
            function of outputs and targets that returns their mean loss.
        extra: The dotted path of a further score, a function of all outputs and targets of a part that returns
            a number; None: no further score.

    Raises:
        ConfigError: No such loss or score.
    """

    kind: TargetKind
    loss: str = "auto"
    extra: str | None = None

    def __post_init__(self) -> None:
        self._loss()  # raises what cannot be found
        if self.extra is not None:
            _function("metric", self.extra)

    @property
    def cross_entropy(self) -> bool:
        """Whether the loss is the cross-entropy."""
        return self.kind != "numbers" and self.loss in ("auto", "cross_entropy")

    @property
    def usual(self) -> bool:
        """Whether neither the loss nor a score is one's own."""
        return self.loss in ("auto", *CLASS_LOSSES, *NUMBER_LOSSES) and self.extra is None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the scores, without `val_` or `test_`; an extra score has its dotted path."""
        return SCORES[self.kind] + (() if self.extra is None else (self.extra,))

    def _loss(self) -> Callable[[Tensor, Tensor], Any]:
        known = NUMBER_LOSSES if self.kind == "numbers" else CLASS_LOSSES
        if self.loss == "auto":
            return next(iter(known.values()))
        if self.loss in known:
            return known[self.loss]
        if "." not in self.loss:
            raise unknown_name("task.loss", self.loss, [*known, "auto"])
        return _function("task.loss", self.loss)

    def loss_of(self, output: Tensor, target: Tensor) -> Tensor:
        """The mean loss of a batch.

        Args:
            output: (N, outputs), or (N, ..., outputs) for tokens.
            target: (N,) classes, (N, ...) tokens or (N, outputs) numbers.
        """
        if self.kind == "tokens":
            output = output.movedim(-1, 1)
        loss: Tensor = self._loss()(output, target)
        return loss

    def scores(self, output: Tensor, target: Tensor, scale: TargetScale) -> dict[str, float]:
        """All scores of the outputs for a whole part of the data.

        Args:
            output: As in `loss_of`.
            target: As in `loss_of`; numbers are standardised.
            scale: How they were.
        """
        found = {"loss": float(self.loss_of(output, target))}
        if self.kind == "numbers":
            error = (output - target).double().square()
            mse = float((error * scale.std.to(error.device).square()).mean())
            found |= {"mse": float(error.mean()), "rmse": math.sqrt(mse)}
            found["psnr"] = psnr(scale.span, mse)
        else:
            right = (output.argmax(-1) == target).double()
            found["accuracy"] = float(right.mean())
        if self.kind == "class":
            counts, hits = target.bincount(), target.bincount(weights=right)
            found["balanced_accuracy"] = float((hits / counts)[counts > 0].mean())
        elif self.kind == "tokens":
            entropy = F.cross_entropy(output.movedim(-1, 1).double(), target)
            found["bits_per_token"] = float(entropy) / math.log(2)
        if self.extra is not None:
            found[self.extra] = float(_function("metric", self.extra)(output, target))
        return {name: found[name] for name in self.names}

    def guess(self, target: Tensor, outputs: int) -> dict[str, float]:
        """The scores of the best answer that ignores the input; only those that are known.

        Args:
            target: The targets of the training examples, as they are.
            outputs: Numbers that a model returns.
        """
        if self.kind == "numbers":
            spread = float(target.double().var(dim=0, correction=0).mean())
            found = {"mse": 1.0, "rmse": math.sqrt(spread)}
            found["psnr"] = psnr(float(target.max() - target.min()), spread)
            return found | ({"loss": 1.0} if self.loss in ("auto", "mse") else {})
        shares = torch.bincount(target.flatten(), minlength=outputs).double() / target.numel()
        entropy = float(torch.special.entr(shares).sum())
        found = {"accuracy": float(shares.max())}
        if self.kind == "class":
            found["balanced_accuracy"] = 1 / outputs
        else:
            found["bits_per_token"] = entropy / math.log(2)
        return found | ({"loss": entropy} if self.cross_entropy else {})


def psnr(span: float, mse: float) -> float:
    """Peak signal-to-noise ratio in dB, bounded by the precision of float32; NaN if the error is not finite."""
    if not math.isfinite(mse):
        return math.nan
    floor = (span * float(torch.finfo(torch.float32).eps)) ** 2
    return 10 * math.log10(span**2 / max(mse, floor))


def _function(argument: str, path: str) -> Callable[..., Any]:
    found = import_path(argument, path)
    if not callable(found):
        raise ConfigError(
            f"{argument} must be the dotted path of a function of outputs and targets, but {path!r} is "
            f"{found!r}: correct the path"
        )
    return found
