"""`ScheduleSettings`: how the learning rate changes over a training, as a function of the step alone.

The rate of a step depends neither on where a training was interrupted nor on what else is trained: a training
that resumes at a rung has the rates that it would have had without the interruption, and nothing is saved.
"""

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import Field, model_validator
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from initsearch.dotted import import_path
from initsearch.errors import ConfigError, quoted, unknown_name
from initsearch.settings import Settings, gathered

OWN_SETTINGS = ("name", "warmup", "final", "interval", "epochs", "arguments")
#: Arguments of torch's schedulers that are a length: the full training, if they are not given.
LENGTHS = ("T_max", "total_steps", "total_iters")
#: What a scheduler may change in a group of parameters.
CHANGED = ("lr", "momentum", "betas")

#: By share of the training that is done, in [0, 1), and the last factor.
SHAPES: dict[str, Callable[[float, float], float]] = {
    "constant": lambda done, final: 1.0,
    "cosine": lambda done, final: final + (1 - final) * (1 + math.cos(math.pi * done)) / 2,
    "linear": lambda done, final: 1 - (1 - final) * done,
}

#: What the groups of an optimizer have at a step (from 0), such as `{"lr": 0.05}`.
Course = Callable[[int], Mapping[str, Any]]


class ScheduleSettings(Settings):
    """`optimizer.schedule`; what is not listed here is passed to a scheduler of torch.

    The schedule is that of the full training, also where a candidate stops at a rung. It begins at the
    candidate's learning rate. A warm-up of n steps before it has 1/n, 2/n, ... of its first rate.

    Attributes:
        name: `constant`; `cosine` and `linear`, down to `final`; or the dotted path of an `LRScheduler`, of
            torch or of one's own; `_target_` in the configuration is the same. Its arguments `T_max`,
            `total_steps` and `total_iters` are the length of the training unless they are given; `max_lr` is
            the candidate's learning rate.
        warmup: The share of the training in which the rate rises, in [0, 1); the schedule takes the rest.
        final: Of `cosine` and `linear`: the factor at the end; default 0.
        interval: How often a scheduler of torch is stepped: after each `step` or each `epoch`.
        epochs: The length of the full training; a configuration has it from `max_epochs`.
        arguments: Further arguments of a scheduler of torch (`gamma`, `step_size`, ...).
    """

    name: str
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.0
    final: Annotated[float, Field(ge=0)] | None = None
    interval: Literal["step", "epoch"] = "step"
    epochs: Annotated[float, Field(gt=0)] | None = None
    arguments: Mapping[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _gather_arguments(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        return gathered(named(values), OWN_SETTINGS)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.name in SHAPES:
            if self.arguments or self.interval != "step":
                given = next(iter(self.arguments), "interval")
                raise ConfigError(
                    f"optimizer.schedule.{given} is for a scheduler of torch, but the schedule is {self.name}: "
                    "leave it out, or set optimizer.schedule._target_"
                )
            if self.final is not None and self.name == "constant":
                raise ConfigError(
                    f"optimizer.schedule.final is for cosine and linear, but got {self.final} for constant: "
                    "leave it out"
                )
            return self
        self._scheduler_class()
        if self.final is not None:
            raise ConfigError(
                f"optimizer.schedule.final is for cosine and linear, but got {self.final} for {self.name}: "
                "leave it out"
            )
        if "max_lr" in self.arguments:
            raise ConfigError(
                "optimizer.schedule.max_lr must be left out: it is the candidate's learning rate, but got "
                f"{quoted(self.arguments['max_lr'])}: set optimizer.lr"
            )
        return self

    def _scheduler_class(self) -> type[LRScheduler]:
        if "." not in self.name:
            raise unknown_name("optimizer.schedule", self.name, SHAPES)
        found = import_path("optimizer.schedule", self.name)
        if not (isinstance(found, type) and issubclass(found, LRScheduler)):
            raise ConfigError(
                f"optimizer.schedule {self.name!r} must be a torch.optim.lr_scheduler.LRScheduler, but is "
                f"{quoted(found)}: give the dotted path of one, or cosine"
            )
        if issubclass(found, ReduceLROnPlateau):
            raise ConfigError(
                f"optimizer.schedule must be a function of the step, but {self.name!r} follows a score: "
                "try cosine"
            )
        return found

    def course(
        self, build: Callable[[float], torch.optim.Optimizer], lr: float, per_epoch: int
    ) -> Course:
        """What an optimizer's groups have at each step of a training; to be asked in ascending order.

        Args:
            build: Makes an optimizer of the same kind, at a learning rate, over a parameter of its own.
            lr: The candidate's learning rate.
            per_epoch: Steps of an epoch.

        Raises:
            ConfigError: The length of the training is not known, or the scheduler refuses its arguments.
        """
        if self.epochs is None:
            raise ConfigError(
                "optimizer.schedule.epochs must be the length of the full training, but is missing: set it"
            )
        steps = max(1, math.ceil(self.epochs * per_epoch - 1e-6))
        warm = round(self.warmup * steps)
        rest = steps - warm
        after = (
            self._shaped(lr, rest)
            if self.name in SHAPES
            else self._replayed(build(lr), lr, rest, per_epoch)
        )

        def course(step: int) -> Mapping[str, Any]:
            if step >= warm:
                return after(step - warm)
            first = after(0)
            return {**first, "lr": first["lr"] * (step + 1) / warm}

        return course

    def _shaped(self, lr: float, steps: int) -> Course:
        """The course of a schedule by name."""
        shape, final = SHAPES[self.name], self.final or 0.0
        return lambda step: {"lr": lr * shape(min(step / steps, 1.0), final)}

    def _replayed(
        self, optimizer: torch.optim.Optimizer, lr: float, steps: int, per_epoch: int
    ) -> Course:
        """The course of a scheduler of torch, which is stepped from the first step on."""
        scheduler = self._scheduler(optimizer, lr, steps, per_epoch)
        optimizer.step(lambda: 0.0)  # torch warns of a scheduler that is stepped before
        period = 1 if self.interval == "step" else per_epoch
        reached = 0

        def after(step: int) -> Mapping[str, Any]:
            nonlocal reached
            while reached < step // period:
                scheduler.step()
                reached += 1
            group = optimizer.param_groups[0]
            return {key: group[key] for key in CHANGED if key in group}

        return after

    def check(self, optimizer: torch.optim.Optimizer, lr: float) -> None:
        """Refuse arguments that a scheduler of torch refuses.

        Raises:
            ConfigError: It does.
        """
        if self.name not in SHAPES:
            self._scheduler(optimizer, lr, steps=100, per_epoch=10)

    def _scheduler(
        self, optimizer: torch.optim.Optimizer, lr: float, steps: int, per_epoch: int
    ) -> LRScheduler:
        kind = self._scheduler_class()
        length = steps if self.interval == "step" else max(1, math.ceil(steps / per_epoch))
        takes = inspect.signature(kind).parameters
        filled: dict[str, Any] = {name: length for name in LENGTHS if name in takes}
        if "max_lr" in takes:
            filled["max_lr"] = lr
        try:
            return kind(optimizer, **{**filled, **self.arguments})
        except Exception as error:  # a scheduler of one's own may raise anything
            given = ", ".join(f"{key}={quoted(value)}" for key, value in self.arguments.items())
            raise ConfigError(
                f"optimizer.schedule {self.name!r} refuses its arguments ({' '.join(str(error).split())}; got "
                f"{given or 'none'}): correct them under optimizer.schedule"
            ) from error


def named(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with Hydra's `_target_` as `name`."""
    given = dict(values)
    if "_target_" in given:
        given["name"] = given.pop("_target_")
    return given
