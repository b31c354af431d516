"""How a user's own module is trained: one fit after the other (`trainer`), or fits in lockstep (`loop`)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from initsearch.callback import CallbackBase
from initsearch.errors import InitSearchError, shortened
from initsearch.random_state import isolated_random_state
from initsearch.tasks.lightning_fit import UsersFit
from initsearch.tasks.lightning_probe import shortened_fit

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer

Engine = Literal["auto", "trainer", "loop"]
ENGINES = ("auto", "trainer", "loop")
#: By how much two trainings with the same numbers may differ, relatively: by the order of sums on a GPU.
TOLERANCE = 1e-5
#: Devices whose random state is exchanged between the fits of a lockstep.
DEVICES = ("cpu", "cuda")


@dataclass(frozen=True)
class ChosenEngine:
    """An engine, and why.

    Attributes:
        name: `trainer` or `loop`.
        reason: In one line.
    """

    name: Literal["trainer", "loop"]
    reason: str


def choose_engine(users: UsersFit, asked: Engine) -> ChosenEngine:
    """The fastest engine that gives what `Trainer.fit` gives; a few steps of both are compared.

    Args:
        users: What the user passes to `fit`, which has been trained for a few steps.
        asked: The engine, or `auto`.
    """
    if asked == "trainer":
        return ChosenEngine("trainer", "asked for")
    obstacle = _obstacle(users) or _difference(users)
    if obstacle is not None:
        return ChosenEngine("trainer", f"each candidate has a fit of its own, since {obstacle}")
    return ChosenEngine(
        "loop", "candidates train in turns on batches that are loaded once, as their own fits would"
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


def _differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> str | None:
    """The first name of which the values differ."""
    if one.keys() != other.keys():
        return str(min(one.keys() ^ other.keys()))
    for name, value in one.items():
        if isinstance(value, Tensor) and not torch.allclose(
            value.double(), other[name].double(), rtol=TOLERANCE, atol=0.0, equal_nan=True
        ):
            return name
    return None
