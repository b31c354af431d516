"""The config group `trainer`: what is Lightning's, handed on unchanged, and the engine's own."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from initsearch.checks import check_choice, check_keys
from initsearch.errors import ConfigError

LIGHTNING = (
    "accelerator",
    "devices",
    "num_nodes",
    "strategy",
    "precision",
    "sync_batchnorm",
    "benchmark",
    "deterministic",
)
ENGINES = ("auto", "loop", "stacked")
AUTOCASTS = ("auto", "none", "bf16")
# Strategies of one process, and those whose ranks are scripts of their own (the only ones whose
# rank 0 is the process that asked, so that it can hand the result back).
SINGLE = ("auto", "single_device")
DISTRIBUTED = ("ddp", "ddp_find_unused_parameters_false", "ddp_find_unused_parameters_true")


@dataclass(frozen=True)
class TrainerSettings:
    """The config group `trainer`, checked.

    Attributes:
        lightning: Arguments of `lightning.pytorch.Trainer`.
        engine: `loop`, `stacked`, or `auto` (where nobody probed: `loop`).
        autocast: `bf16`: the forward pass in bfloat16; `none` or `auto` (where nobody probed): not.
        channels_last: Whether images and convolutions lie in channels-last order; `auto`: not.

    Raises:
        ConfigError: An unknown setting, or a value that cannot train a cohort.
    """

    lightning: Mapping[str, Any] = field(default_factory=dict)
    engine: str = "auto"
    autocast: str = "auto"
    channels_last: bool | str = "auto"

    def __post_init__(self) -> None:
        check_keys("trainer setting", self.lightning, LIGHTNING)
        check_choice("trainer.engine", self.engine, ENGINES)
        check_choice("trainer.autocast", self.autocast, AUTOCASTS)
        if self.channels_last not in (True, False, "auto"):
            raise ConfigError(
                f"trainer.channels_last must be true, false or auto, but got {self.channels_last!r}"
            )
        check_choice("trainer.strategy", self.strategy, SINGLE + DISTRIBUTED)
        if str(self.lightning.get("precision", "32-true")) in ("16", "16-mixed"):
            # One loss scale for all members: an overflow of one would skip the step of every other.
            raise ConfigError(
                "trainer.precision must not be 16-mixed, whose loss scale couples the members of a "
                "cohort: use bf16-mixed"
            )

    @classmethod
    def from_mapping(cls, settings: Mapping[str, Any]) -> "TrainerSettings":
        """The settings with these entries."""
        own = {k: v for k, v in settings.items() if k in ("engine", "autocast", "channels_last")}
        return cls({key: value for key, value in settings.items() if key not in own}, **own)

    @property
    def strategy(self) -> str:
        """Lightning's strategy."""
        return str(self.lightning.get("strategy", "auto"))

    @property
    def on_cpu(self) -> bool:
        """Whether the training is asked to run on the processor."""
        return bool(self.lightning.get("accelerator", "cpu") == "cpu")

    @property
    def device_count(self) -> int:
        """Devices that one training takes."""
        devices = self.lightning.get("devices", 1)
        if isinstance(devices, list | tuple):
            return len(devices)
        if devices in ("auto", -1, "-1"):
            return 1 if self.on_cpu else max(1, torch.cuda.device_count())
        try:
            return int(devices)
        except ValueError as error:
            raise ConfigError(
                f"trainer.devices must be a number, a list or auto, but got {devices!r}"
            ) from error

    @property
    def gpus(self) -> list[int]:
        """Numbers of the GPUs that trainings of one device each may take; none on the CPU."""
        if self.on_cpu or not torch.cuda.is_available():
            return []
        devices = self.lightning.get("devices", 1)
        if isinstance(devices, list | tuple):
            return [int(device) for device in devices]
        return list(range(torch.cuda.device_count()))

    @property
    def distributed(self) -> bool:
        """Whether one training spreads over processes."""
        nodes = int(self.lightning.get("num_nodes", 1))
        return self.strategy in DISTRIBUTED or self.device_count > 1 or nodes > 1
