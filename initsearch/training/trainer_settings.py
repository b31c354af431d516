"""`TrainerSettings`: the config group `trainer`, with Lightning's arguments and the engine's own."""

from typing import Annotated, Any, Literal

import torch
from pydantic import BeforeValidator, Field

from initsearch.errors import ConfigError, unknown_name
from initsearch.settings import Settings, one_of

#: Names of Lightning (2.6).
ACCELERATORS = ("auto", "cpu", "cuda", "gpu", "mps", "tpu")
PRECISIONS = (
    *("32-true", "32", "64-true", "64", "bf16-mixed", "bf16", "bf16-true", "16-true"),
    *("transformer-engine", "transformer-engine-float16"),
)
ENGINES = ("auto", "loop", "stacked")
AUTOCASTS = ("auto", "none", "bf16")
#: Strategies of one process.
SINGLE = ("auto", "single_device")
#: Strategies whose ranks are programs of their own. Only with these, rank 0 is the process that started the
#: training, and can return the result.
DISTRIBUTED = ("ddp", "ddp_find_unused_parameters_false", "ddp_find_unused_parameters_true")
#: The fields that are not arguments of `lightning.pytorch.Trainer`.
OWN = {"engine", "autocast", "channels_last"}


def _devices(value: object) -> object:
    """A number of devices, a list of device numbers, or `auto` (-1 means the same)."""
    if isinstance(value, list | tuple) and value:
        return tuple(value)
    if value in ("auto", -1, "-1"):
        return "auto"
    if isinstance(value, str) and value.isdigit():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError("must be a number from 1 up, a list of numbers, or auto")
    return value


def _flag_or(*words: str) -> BeforeValidator:
    """True, false or one of a few words."""
    listed = " or ".join(words)

    def check(value: object) -> object:
        if not isinstance(value, bool) and value not in words:
            raise ValueError(f"must be true, false or {listed}")
        return value

    return BeforeValidator(check)


def _precision(value: object) -> str:
    precision = str(value)
    if precision in ("16", "16-mixed"):
        # One loss scale for all members: an overflow of one would skip the step of all others.
        raise ValueError(  # pydantic's protocol
            "must not be 16-mixed, whose loss scale couples the members of a cohort (use bf16-mixed)"
        )
    if precision not in PRECISIONS:
        raise unknown_name("trainer.precision", value, PRECISIONS)
    return precision


class TrainerSettings(Settings):
    """The config group `trainer`.

    Attributes:
        accelerator: As `lightning.pytorch.Trainer` takes it; so are the next seven.
        devices: Devices that one training takes: a number, a list of GPUs, or `auto`.
        num_nodes: Machines that one training takes.
        strategy: `auto`, `single_device`, or `ddp` (one candidate at a time over all devices).
        precision: Of the weights; not `16-mixed`.
        sync_batchnorm: Whether batch norms use the batch of all processes.
        benchmark: cuDNN's benchmark mode; None: Lightning's default.
        deterministic: Whether only deterministic operations are allowed; None: Lightning's default.
        engine: `loop`, `stacked`, or `auto` (without a probe: `loop`).
        autocast: `bf16`: the forward pass in bfloat16; `none`, or `auto` without a probe: not.
        channels_last: Whether images and convolutions are in channels-last order; `auto` without a probe:
            they are not.
    """

    accelerator: Annotated[str, one_of("trainer.accelerator", ACCELERATORS)] = "cpu"
    devices: Annotated[int | tuple[int, ...] | Literal["auto"], BeforeValidator(_devices)] = 1
    num_nodes: Annotated[int, Field(ge=1)] = 1
    strategy: Annotated[str, one_of("trainer.strategy", SINGLE + DISTRIBUTED)] = "auto"
    precision: Annotated[str, BeforeValidator(_precision)] = "32-true"
    sync_batchnorm: bool = False
    benchmark: bool | None = None
    deterministic: Annotated[bool | Literal["warn"], _flag_or("warn")] | None = None
    engine: Annotated[str, one_of("trainer.engine", ENGINES)] = "auto"
    autocast: Annotated[str, one_of("trainer.autocast", AUTOCASTS)] = "auto"
    channels_last: Annotated[bool | Literal["auto"], _flag_or("auto")] = "auto"

    @property
    def lightning(self) -> dict[str, Any]:
        """The arguments of `lightning.pytorch.Trainer`."""
        arguments = self.model_dump(exclude=OWN)
        if isinstance(self.devices, tuple):
            arguments["devices"] = list(self.devices)
        return arguments

    @property
    def on_cpu(self) -> bool:
        """Whether the training runs on the processor."""
        return self.accelerator == "cpu"

    @property
    def device_count(self) -> int:
        """Devices that one training takes."""
        if isinstance(self.devices, tuple):
            return len(self.devices)
        if self.devices == "auto":
            return 1 if self.on_cpu else max(1, torch.cuda.device_count())
        return self.devices

    @property
    def gpus(self) -> list[int]:
        """Numbers of the GPUs that trainings of one device each may take; empty on the CPU."""
        if self.on_cpu or not torch.cuda.is_available():
            return []
        if isinstance(self.devices, tuple):
            return list(self.devices)
        return list(range(torch.cuda.device_count()))

    def check_devices(self) -> None:
        """Refuse GPUs that this machine does not have; Lightning would do so in the first job.

        Raises:
            ConfigError: There is no GPU, or there are fewer than one training takes.
        """
        if self.accelerator not in ("gpu", "cuda", "mps"):
            return
        cuda = torch.cuda.device_count() if torch.cuda.is_available() else 0
        mps = int(torch.backends.mps.is_available())
        found = {"gpu": cuda or mps, "cuda": cuda, "mps": mps}[self.accelerator]
        if not found:
            raise ConfigError(
                f"trainer.accelerator={self.accelerator} needs a GPU, but torch {torch.__version__} finds "
                "none: use trainer=cpu, or install a build of torch for the GPU of this machine"
            )
        numbers = self.devices if isinstance(self.devices, tuple) else (self.device_count - 1,)
        if max(numbers, default=0) >= found:
            devices = list(self.devices) if isinstance(self.devices, tuple) else self.devices
            raise ConfigError(
                f"trainer.devices must be among the GPUs of this machine, of which torch finds {found}, but "
                f"got {devices}: use trainer.devices=1 or trainer=cpu"
            )

    @property
    def distributed(self) -> bool:
        """Whether one training takes several processes."""
        return self.strategy in DISTRIBUTED or self.device_count > 1 or self.num_nodes > 1
