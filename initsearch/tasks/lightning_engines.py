"""How a user's own module is trained: one fit after the other, or fits in lockstep.

- `trainer`: each candidate has a fit of its own.
- `loop`: the fits of a seed take turns on batches that are loaded once; bit for bit the same scores.
- `stacked`: in such a loop, the training steps of all fits are one pass; the same scores up to rounding.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from initsearch.callback import CallbackBase
from initsearch.callback.bases import class_for
from initsearch.errors import InitSearchError, shortened
from initsearch.random_state import isolated_random_state
from initsearch.tasks.lightning_fit import UsersFit
from initsearch.tasks.lightning_probe import described, shortened_fit
from initsearch.tasks.stacked_steps import NotStackedError

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer

Engine = Literal["auto", "trainer", "loop", "stacked"]
ENGINES = ("auto", "trainer", "loop", "stacked")
#: By how much two trainings with the same numbers may differ, relatively: by the order of sums on a GPU.
TOLERANCE = 1e-5
#: By how much the sums of one pass for all may change them, in double precision.
ROUNDING = 1e-6
TURNS = "candidates train in turns on batches that are loaded once, as their own fits would"
#: Devices whose random state is exchanged between the fits of a lockstep.
DEVICES = ("cpu", "cuda")


@dataclass(frozen=True)
class ChosenEngine:
    """An engine, and why.

    Attributes:
        name: `trainer`, `loop` or `stacked`.
        reason: In one line.
    """

    name: Literal["trainer", "loop", "stacked"]
    reason: str


def choose_engine(users: UsersFit, asked: Engine, rates: Sequence[float] = ()) -> ChosenEngine:
    """An engine that gives what `Trainer.fit` gives; a few steps of both are compared.

    `auto` is never `stacked`: its scores differ by rounding, and on a CPU it was slower than `loop` for small
    perceptrons, with 6 to 32 candidates. The choice does not depend on how fast anything is.

    Args:
        users: What the user passes to `fit`, which has been trained for a few steps.
        asked: The engine, or `auto`.
        rates: Learning rates that candidates may have; of which the first and last are compared.
    """
    if asked == "trainer":
        return ChosenEngine("trainer", "asked for")
    obstacle = _obstacle(users) or _difference(users)
    if obstacle is not None:
        return ChosenEngine("trainer", f"each candidate has a fit of its own, since {obstacle}")
    if asked != "stacked":
        return ChosenEngine("loop", TURNS)
    obstacle = _difference_of_stacked(users, (rates or (None,)))
    if obstacle is not None:
        return ChosenEngine("loop", f"{TURNS}; not stacked, since {obstacle}")
    return ChosenEngine(
        "stacked",
        "asked for: the training steps of all candidates are one pass, equal up to rounding",
    )


def _obstacle(users: UsersFit) -> str | None:
    """What a lockstep cannot take turns with; None if there is nothing."""
    trainer: Any = users.trainer
    device = trainer.strategy.root_device.type
    if device not in DEVICES:
        return f"the random state of {device} cannot be exchanged"
    if trainer._detect_anomaly:
        return "Trainer(detect_anomaly=True) holds for the whole process"
    if trainer.overfit_batches > 0:
        return "Trainer(overfit_batches=...) replaces the data loaders"
    if type(trainer.profiler).__name__ != "PassThroughProfiler":
        return "Trainer(profiler=...) measures one fit at a time"
    return None


def _difference(users: UsersFit) -> str | None:
    """Where two short fits in lockstep differ from the same two alone; None if they agree."""
    with isolated_random_state(seed=0, devices=[users.trainer.strategy.root_device]):
        try:
            together = users.run_together(0, [[_Scaled(1.0)], [_Scaled(0.5)]], shortened_fit)
        except InitSearchError as error:
            return f"in turns with another it fails: {error}"
        except Exception as error:  # noqa: BLE001  # the user's code; alone it was trained before
            place = shortened((str(error).strip().splitlines() or [""])[0])
            return f"in turns with another it fails: {type(error).__name__}: {place}"
        for factor, outcome in zip((1.0, 0.5), together, strict=True):
            if outcome is None:
                return "candidates draw different random numbers before they need the same batch"
            alone = users.run(0, [_Scaled(factor)], shortened_fit)
            if (name := _differing(_numbers(*alone), _numbers(*outcome))) is not None:
                return f"in turns with another, {name} has other values after a few steps"
    return None


def _difference_of_stacked(users: UsersFit, rates: Sequence[float | None]) -> str | None:
    """Where two short fits in double precision differ, if their steps are one pass; None if they agree."""
    callbacks = [[_Scaled(1.0)], [_Scaled(0.5)]]
    ends = (rates[0], rates[-1])
    with isolated_random_state(seed=0, devices=[users.trainer.strategy.root_device]):
        try:
            in_turns = users.run_together(0, callbacks, _short_and_exact, rates=ends)
            stacked = users.run_together(0, callbacks, _short_and_exact, rates=ends, stacked=True)
        except NotStackedError as error:
            return str(error)
        except Exception as error:  # noqa: BLE001  # the user's code; in a loop it was trained before
            return f"in double precision it fails: {described(error)}"
    for one, other in zip(in_turns, stacked, strict=True):
        if one is None or other is None:
            return "candidates draw different random numbers before they need the same batch"
        if (name := _differing(_numbers(*one), _numbers(*other), ROUNDING)) is not None:
            return f"{name} has other values after a few steps"
    return None


def _short_and_exact(trainer: "Trainer") -> None:
    """Two short epochs in double precision, where what differs is more than rounding."""
    shortened_fit(trainer, epochs=2)
    trainer.strategy.precision_plugin = class_for(trainer, "plugins.precision:DoublePrecision")()


class _Scaled(CallbackBase):
    """Multiplies all parameters: two candidates that differ.

    Args:
        factor: By what.
    """

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def on_fit_start(self, trainer: "Trainer", pl_module: "LightningModule") -> None:
        """Multiply."""
        with torch.no_grad():
            for parameter in pl_module.parameters():
                parameter.mul_(self.factor)


def _numbers(trainer: "Trainer", module: "LightningModule") -> dict[str, Tensor]:
    """All that a fit leaves behind: metrics, weights and buffers."""
    metrics = {f"metric {name}": value for name, value in trainer.callback_metrics.items()}
    return {**metrics, **module.state_dict()}


def _differing(
    one: Mapping[str, Any], other: Mapping[str, Any], tolerance: float = TOLERANCE
) -> str | None:
    """The first name of which the values differ by more than the relative tolerance."""
    if one.keys() != other.keys():
        return str(min(one.keys() ^ other.keys()))
    for name, value in one.items():
        if isinstance(value, Tensor) and not torch.allclose(
            value.double(), other[name].double(), rtol=tolerance, atol=0.0, equal_nan=True
        ):
            return name
    return None
