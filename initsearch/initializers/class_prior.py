"""Output biases with which a model begins at what the targets are on average."""

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from initsearch.checks import is_list
from initsearch.errors import ConfigError, quoted
from initsearch.initializers.base import Initializer
from initsearch.initializers.distribution import Distribution
from initsearch.initializers.registry import register

_OUTPUTS = ("auto", "softmax", "sigmoid", "mean")
# A class without examples counts as half an example: its logarithm would be minus infinity.
_UNSEEN = 0.5
_REMEDY = "name the head: where: {role: head}"


@register("class_prior")
@dataclass(frozen=True)
class ClassPrior(Initializer):
    """The bias of an output layer, so that a model with small weights begins at the targets' average.

    - softmax: log p_k, with the frequency p_k of each class (shifted by a constant, this changes nothing);
    - sigmoid, one output for two classes or one for each label: log(p / (1 - p));
    - mean, for regression: the mean of each target.

    The first loss is then the entropy of the labels (or the variance of the target), and no steps are spent on
    learning it. In a plan, frequencies that are not given come from the targets of the training data: integers
    are classes; rows of 0 and 1 are labels (softmax if there is one 1 in each row); other numbers are averaged.
    A class without examples counts as half an example.

    Args:
        frequencies: Of each class, in any unit; of the positives for one output; or means. Default: from data.
        output: "softmax", "sigmoid", "mean", or "auto": by the number of outputs, and the type of the targets.

    Raises:
        ConfigError: No frequencies and no data; other than one per output; or no probability (of zero, or of
            one for sigmoid).
    """

    formula: ClassVar[str] = "log p_k; one output: log(p/(1−p)); regression: the mean"
    source: ClassVar[str] = "Karpathy 2019 (a recipe for training neural networks), `init well`"
    needs: ClassVar[frozenset[str]] = frozenset({"targets"})

    frequencies: Any = None
    output: str = "auto"

    def __post_init__(self) -> None:
        self._choice("output", _OUTPUTS)
        if self.frequencies is None:
            return
        given = self.frequencies
        numbers = tuple(given) if is_list(given) else (given,)
        real = [isinstance(each, int | float) and not isinstance(each, bool) for each in numbers]
        if not numbers or not all(real) or not all(map(math.isfinite, numbers)):
            raise ConfigError(
                f"{self.name}: frequencies must be finite numbers, one per output, but got "
                f"{quoted(given)}: write [0.9, 0.1]"
            )
        object.__setattr__(self, "frequencies", tuple(map(float, numbers)))

    def given(self, targets: Tensor, outputs: int) -> "ClassPrior":
        """With the frequencies of the training data, if none are given.

        Args:
            targets: The targets of all or many training examples.
            outputs: The number of entries of the bias.
        """
        if self.frequencies is not None:
            return self
        targets = targets.detach().cpu()
        if self.output == "mean":
            return self._mean(targets, outputs)
        zero_one = bool(((targets == 0) | (targets == 1)).all())
        rows = targets.ndim > 1 and targets.shape[-1] == outputs > 1
        if rows and zero_one and self.output != "softmax":
            single = self.output == "auto" and bool((targets.sum(-1) == 1).all())
            counts = targets.reshape(-1, outputs).double().sum(0)
            return self._counted(
                counts, targets.numel() // outputs, "softmax" if single else "sigmoid"
            )
        if not targets.is_floating_point():
            return self._classes(targets, outputs)
        if outputs == 1 and zero_one:
            return self._counted(targets.double().sum().reshape(1), targets.numel(), "sigmoid")
        if self.output == "softmax" and rows:
            return self._counted(targets.reshape(-1, outputs).double().sum(0), 0, "softmax")
        if self.output == "auto":
            return self._mean(targets, outputs)
        raise ConfigError(
            f"{self.name}: targets for {self.output} must be classes or rows of {outputs} numbers from 0 to 1, "
            f"but got {tuple(targets.shape)} of {targets.dtype}: give frequencies"
        )

    def _classes(self, targets: Tensor, outputs: int) -> "ClassPrior":
        labels = targets[targets >= 0].reshape(-1).long()  # a negative label is one to ignore
        if not labels.numel():
            raise ConfigError(f"{self.name}: needs labels, but got none: give frequencies")
        most = int(labels.max()) + 1
        if outputs == 1 and most <= 2:
            return self._counted(labels.double().sum().reshape(1), labels.numel(), "sigmoid")
        if most > outputs:
            raise ConfigError(
                f"{self.name}: the labels must be below the number of outputs, but got {most - 1} for a bias "
                f"of {outputs}: {_REMEDY}, or give frequencies"
            )
        return self._counted(torch.bincount(labels, minlength=outputs).double(), 0, "softmax")

    def _counted(self, counts: Tensor, total: int, output: str) -> "ClassPrior":
        """From counts; for sigmoid of a total each."""
        if output == "sigmoid":
            counts = counts.clamp(_UNSEEN, total - _UNSEEN) / total
        else:
            counts = counts.clamp(min=_UNSEEN)
            counts = counts / counts.sum()
        return replace(self, frequencies=tuple(counts.tolist()), output=output)

    def _mean(self, targets: Tensor, outputs: int) -> "ClassPrior":
        rows = targets.ndim > 1 and targets.shape[-1] == outputs
        numbers = targets.double()
        means = numbers.reshape(-1, outputs).mean(0) if rows else numbers.mean().reshape(1)
        if len(means) != outputs:
            raise ConfigError(
                f"{self.name}: the targets must have one number per output, but got {tuple(targets.shape)} for "
                f"a bias of {outputs}: {_REMEDY}, or give frequencies"
            )
        return replace(self, frequencies=tuple(means.tolist()), output="mean")

    def label(self) -> str:
        """The name, with the number of classes."""
        if self.frequencies is None or len(self.frequencies) <= 2:
            return super().label()
        return f"{self.name}({len(self.frequencies)} {self.output})"

    def _draw_(
        self, out: Tensor, fan_in: float, fan_out: float, generator: torch.Generator | None
    ) -> None:
        values = self._values(out.numel())
        out.copy_(torch.tensor(values, dtype=torch.float64).reshape(out.shape))

    def moments(self, fan_in: float, fan_out: float) -> None:
        """The entries are not drawn."""
        return

    def drawn_from(self, fan_in: float, fan_out: float) -> Distribution | None:
        """One value for one output."""
        known = self.frequencies is not None and len(self.frequencies) == 1
        return Distribution.constant(self._values(1)[0]) if known else None

    def _values(self, outputs: int) -> list[float]:
        numbers = self.frequencies
        if numbers is None:
            raise ConfigError(
                f"{self.name}: needs the frequencies of the labels, but got none: give frequencies=[...], or "
                "targets to InitPlan.apply"
            )
        pair = outputs == 1 and len(numbers) == 2 and self.output in ("auto", "sigmoid")
        if pair:
            numbers = (numbers[1] / sum(numbers),) if sum(numbers) else (0.0,)
        if len(numbers) != outputs:
            raise ConfigError(
                f"{self.name}: needs one frequency per output, but got {len(numbers)} for a bias of {outputs}: "
                f"{_REMEDY}"
            )
        if self.output == "mean":
            return list(numbers)
        sigmoid = self.output == "sigmoid" or (self.output == "auto" and outputs == 1)
        if min(numbers) <= 0 or (sigmoid and max(numbers) >= 1):
            rule = "above 0 and below 1" if sigmoid else "above 0"
            raise ConfigError(
                f"{self.name}: frequencies must be {rule}, but got {quoted(list(numbers))}: count a class "
                "without examples as half an example"
            )
        if sigmoid:
            return [math.log(p) - math.log1p(-p) for p in numbers]
        total = sum(numbers)
        return [math.log(p / total) for p in numbers]


@register("focal_prior")
@dataclass(frozen=True)
class FocalPrior(Initializer):
    """The bias of a detector's classification layer: each class begins with the probability `pi`.

    Without it, the many anchors of background give a loss that is large enough to diverge in the first steps.

    Args:
        pi: Above 0 and below 1; .01 as in RetinaNet (a bias of -4.595), .1 in CenterNet (-2.197).
    """

    formula: ClassVar[str] = "−log((1 − pi)/pi)"
    source: ClassVar[str] = "Lin et al. 2017 (focal loss), section 4.1"

    pi: float = 0.01

    def __post_init__(self) -> None:
        self._number("pi", above=0.0, below=1.0)

    def _draw_(
        self, out: Tensor, fan_in: float, fan_out: float, generator: torch.Generator | None
    ) -> None:
        self.drawn_from(fan_in, fan_out).draw_(out, generator)

    def moments(self, fan_in: float, fan_out: float) -> tuple[float, float]:
        """The value, and a deviation of 0."""
        return self._value(), 0.0

    def drawn_from(self, fan_in: float, fan_out: float) -> Distribution:
        """The value."""
        return Distribution.constant(self._value())

    def _value(self) -> float:
        return math.log(self.pi) - math.log1p(-self.pi)
