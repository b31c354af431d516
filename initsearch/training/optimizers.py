"""Optimizers by name, one per member, and what is known of each for stacking."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from initsearch.checks import check_int
from initsearch.dotted import import_path
from initsearch.errors import ConfigError, unknown_name

# Each updates an element of a parameter by that element's own gradient and history alone, so that
# members that lie side by side in one tensor do not touch each other.
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
OWN_SETTINGS = ("name", "batch_size", "clip_norm")


@dataclass(frozen=True)
class OptimizerSettings:
    """The config group `optimizer`, checked.

    Attributes:
        name: `sgd`, `adam`, `adamw`, ... or the dotted path of a `torch.optim.Optimizer`.
        batch_size: Images per step.
        clip_norm: Largest Euclidean norm of one member's gradient; None: no clipping.
        arguments: The optimizer's own settings (`momentum`, `weight_decay`, `betas`, ...).

    Raises:
        ConfigError: An unknown optimizer, or a setting that breaks a rule.
    """

    name: str = "sgd"
    batch_size: int = 128
    clip_norm: float | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise ConfigError(
                "optimizer.name must be a name or the dotted path of a torch.optim.Optimizer, "
                f"but got {self.name!r}: try sgd"
            )
        check_int("optimizer.batch_size", self.batch_size)
        clip = self.clip_norm
        if clip is not None and (not isinstance(clip, int | float) or not clip > 0):
            raise ConfigError(
                f"optimizer.clip_norm must be above 0 or null, but got {self.clip_norm!r}"
            )
        if "lr" in self.arguments:
            raise ConfigError(
                "optimizer.lr must not be set in a job: the learning rate is each candidate's own"
            )

    @classmethod
    def from_mapping(cls, settings: Mapping[str, Any]) -> "OptimizerSettings":
        """The settings with these entries; what is not the project's own goes to the optimizer."""
        own = {key: value for key, value in settings.items() if key in OWN_SETTINGS}
        rest = {key: value for key, value in settings.items() if key not in OWN_SETTINGS}
        return cls(**own, arguments=rest)

    @property
    def kind(self) -> type[torch.optim.Optimizer]:
        """The optimizer's class.

        Raises:
            ConfigError: No such name, or a path that leads to no optimizer.
        """
        if self.name in ELEMENTWISE:
            return ELEMENTWISE[self.name]
        if "." not in self.name:
            raise unknown_name("optimizer", self.name, ELEMENTWISE)
        found = import_path("optimizer", self.name)
        if not (isinstance(found, type) and issubclass(found, torch.optim.Optimizer)):
            raise ConfigError(
                f"optimizer {self.name!r} must be a torch.optim.Optimizer, but is {found!r}"
            )
        return found

    @property
    def elementwise(self) -> bool:
        """Whether members may lie side by side in one tensor under this optimizer."""
        return self.kind in ELEMENTWISE.values()

    def build(
        self, params: Iterable[nn.Parameter] | Iterable[dict[str, Any]], lr: float
    ) -> torch.optim.Optimizer:
        """An optimizer over parameters (or parameter groups with rates of their own).

        Raises:
            ConfigError: The optimizer does not know a setting, or refuses its value.
        """
        try:
            return self.kind(params, lr=lr, **self.arguments)  # type: ignore[call-arg]
        except (TypeError, ValueError) as error:
            raise ConfigError(f"optimizer {self.name!r}: {error}") from error
