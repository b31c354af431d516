"""`OptimizerSettings`: the config group `optimizer`, and the optimizer that it names."""

import math
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Self

import torch
from pydantic import BeforeValidator, Field, model_validator
from torch import nn

from initsearch.dotted import import_path
from initsearch.errors import ConfigError, quoted, unknown_name
from initsearch.settings import Settings

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
OWN_SETTINGS = ("name", "lr", "batch_size", "clip_norm", "arguments")


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


class OptimizerSettings(Settings):
    """The config group `optimizer`; what is not listed here is passed to the optimizer.

    Attributes:
        name: `sgd`, `adam`, `adamw`, ... or the dotted path of a `torch.optim.Optimizer`; `_target_` in the
            configuration is the same.
        lr: Learning rate of candidates whose space has none; results depend on each candidate's own.
        batch_size: Examples per step.
        clip_norm: Largest Euclidean norm of one member's gradient; None: no clipping.
        arguments: The optimizer's own settings (`momentum`, `weight_decay`, `betas`, ...).
    """

    name: Annotated[str, BeforeValidator(_existing)] = "sgd"
    lr: Annotated[float, Field(gt=0)] = 0.05
    batch_size: Annotated[int, Field(ge=1)] = 128
    clip_norm: Annotated[float, Field(gt=0)] | None = None
    arguments: Mapping[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _gather_arguments(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        if "_target_" in values:  # as Hydra names a class
            values = {**values, "name": values["_target_"]}
            del values["_target_"]
        own = {key: value for key, value in values.items() if key in OWN_SETTINGS}
        rest = {key: value for key, value in values.items() if key not in OWN_SETTINGS}
        return own | {"arguments": {**own.get("arguments", {}), **rest}}

    @model_validator(mode="after")
    def _check_arguments(self) -> Self:
        for key, value in self.arguments.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise ConfigError(
                    f"optimizer.{key} must be finite, but got {value}: give another number"
                )
        self.build([nn.Parameter(torch.zeros(1))], self.lr)  # raises what the optimizer refuses
        return self

    def key(self) -> dict[str, Any]:
        """Plain data that determine a candidate's training, given its learning rate."""
        own = {"name": self.name, "batch_size": self.batch_size, "clip_norm": self.clip_norm}
        return {**own, **self.arguments}

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
