"""`OptimizerSettings`: the config group `optimizer`, and the optimizer that it names."""

import math
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Self

import torch
from pydantic import BeforeValidator, Field, model_validator
from torch import nn

from initsearch.dotted import import_path
from initsearch.errors import ConfigError, quoted, unknown_name
from initsearch.settings import Settings, gathered
from initsearch.tasks.schedule import Course, ScheduleSettings, named

# Each updates an element of a parameter by that element's own gradient and history alone. The stacked engine
# relies on it: members lie side by side in one tensor.
ELEMENTWISE: dict[str, type[torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "adamax": torch.optim.Adamax,
    "adagrad": torch.optim.Adagrad,
    "adadelta": torch.optim.Adadelta,
    "nadam": torch.optim.NAdam,
    "radam": torch.optim.RAdam,
    "rmsprop": torch.optim.RMSprop,
}
OWN_SETTINGS = ("name", "lr", "batch_size", "clip_norm", "schedule", "arguments")


def _optimizer_class(name: object) -> type[torch.optim.Optimizer]:
    """The class that a name or a dotted path stands for.

    Raises:
        ConfigError: No such name, or a path to something else.
    """
    if not isinstance(name, str):
        raise ConfigError(
            "optimizer.name must be a name or the dotted path of a torch.optim.Optimizer, "
            f"but got {name!r}: try sgd"
        )
    if name in ELEMENTWISE:
        return ELEMENTWISE[name]
    if "." not in name:
        raise unknown_name("optimizer", name, ELEMENTWISE)
    found = import_path("optimizer", name)
    if not (isinstance(found, type) and issubclass(found, torch.optim.Optimizer)):
        raise ConfigError(
            f"optimizer {name!r} must be a torch.optim.Optimizer, but is {found!r}: give the dotted path of one"
        )
    return found


def _existing(name: object) -> object:
    _optimizer_class(name)
    return name


def _read_schedule(given: object) -> ScheduleSettings | None:
    """A schedule from its name or its settings; None: the rate is constant."""
    if given is None:
        return None
    values = {"name": given} if isinstance(given, str) else given
    return ScheduleSettings.parse("optimizer.schedule", values)


class OptimizerSettings(Settings):
    """The config group `optimizer`; what is not listed here is passed to the optimizer.

    Attributes:
        name: `sgd`, `adam`, `adamw`, ... or the dotted path of a `torch.optim.Optimizer`; `_target_` in the
            configuration is the same.
        lr: Learning rate of candidates whose space has none; results depend on each candidate's own.
        batch_size: Examples per step.
        clip_norm: Largest Euclidean norm of one member's gradient; None: no clipping.
        schedule: How the learning rate changes; None: it does not.
        arguments: The optimizer's own settings (`momentum`, `weight_decay`, `betas`, ...).
    """

    name: Annotated[str, BeforeValidator(_existing)] = "sgd"
    lr: Annotated[float, Field(gt=0)] = 0.05
    batch_size: Annotated[int, Field(ge=1)] = 128
    clip_norm: Annotated[float, Field(gt=0)] | None = None
    schedule: Annotated[ScheduleSettings | None, BeforeValidator(_read_schedule)] = None
    arguments: Mapping[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _gather_arguments(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        return gathered(named(values), OWN_SETTINGS)

    @model_validator(mode="after")
    def _check_arguments(self) -> Self:
        for key, value in self.arguments.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise ConfigError(
                    f"optimizer.{key} must be finite, but got {value}: give another number"
                )
        example = self._example(self.lr)  # raises what the optimizer refuses
        if self.schedule is not None:
            self.schedule.check(example, self.lr)
        return self

    def _example(self, lr: float) -> torch.optim.Optimizer:
        return self.build([nn.Parameter(torch.zeros(1))], lr)

    def key(self) -> dict[str, Any]:
        """Plain data that determine a candidate's training, given its learning rate."""
        own: dict[str, Any] = {
            "name": self.name,
            "batch_size": self.batch_size,
            "clip_norm": self.clip_norm,
        }
        if self.schedule is not None:
            own["schedule"] = self.schedule.model_dump(mode="json")
        return {**own, **self.arguments}

    def course(self, lr: float, steps_per_epoch: int) -> Course | None:
        """What the optimizer's groups have at each step of a training at this learning rate; None: no schedule.

        Raises:
            ConfigError: The schedule does not fit.
        """
        if self.schedule is None:
            return None
        return self.schedule.course(self._example, lr, steps_per_epoch)

    @property
    def elementwise(self) -> bool:
        """Whether members may lie side by side in one tensor under this optimizer."""
        return _optimizer_class(self.name) in ELEMENTWISE.values()

    def build(
        self, params: Iterable[nn.Parameter] | Iterable[dict[str, Any]], lr: float
    ) -> torch.optim.Optimizer:
        """An optimizer over parameters (or parameter groups with rates of their own).

        Raises:
            ConfigError: The optimizer does not know a setting, or refuses its value.
        """
        try:
            return _optimizer_class(self.name)(params, lr=lr, **self.arguments)  # type: ignore[call-arg]
        except (TypeError, ValueError) as error:
            given = ", ".join(f"{key}={quoted(value)}" for key, value in self.arguments.items())
            raise ConfigError(
                f"optimizer {quoted(self.name)} refuses its settings ({error}; got {given}): correct them "
                "under optimizer"
            ) from error
