"""State-space models: the bias of the step size, and the decays."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from initsearch.errors import ConfigError
from initsearch.initializers import draws
from initsearch.initializers.base import Initializer
from initsearch.initializers.registry import register


@register("mamba_step")
@dataclass(frozen=True)
class MambaStep(Initializer):
    """The bias with which softplus gives step sizes that are log-uniform from `dt_min` to `dt_max`.

    dt = max(exp U(log dt_min, log dt_max), dt_floor); the bias is its inverse softplus, dt + log(1 - exp(-dt)).

    Args:
        dt_min: The least step, > 0.
        dt_max: The greatest step, > dt_min.
        dt_floor: No step is below it, > 0.
    """

    formula: ClassVar[str] = "softplus⁻¹(dt), dt = exp U(log dt_min, log dt_max)"
    source: ClassVar[str] = "Gu and Dao 2023, section 3.6 and `mamba_ssm` (`dt_proj.bias`)"

    dt_min: float = 0.001
    dt_max: float = 0.1
    dt_floor: float = 1e-4

    def __post_init__(self) -> None:
        self._number("dt_min", above=0.0)
        self._number("dt_max", above=0.0)
        self._number("dt_floor", above=0.0)
        if self.dt_max <= self.dt_min:
            raise ConfigError(
                f"{self.name}: dt_max must be > dt_min, but got {self.dt_max:g} <= {self.dt_min:g}: swap them"
            )

    def _draw_(
        self, out: Tensor, fan_in: float, fan_out: float, generator: torch.Generator | None
    ) -> None:
        steps = torch.empty(out.shape, dtype=out.real.dtype, device=out.device)
        draws.uniform_(steps, math.log(self.dt_min), math.log(self.dt_max), generator)
        steps = steps.exp_().clamp_(min=self.dt_floor)
        out.copy_(steps + torch.log(-torch.expm1(-steps)))


@register("mamba_decay")
@dataclass(frozen=True)
class MambaDecay(Initializer):
    """log(1), log(2), ..., log(N) along the last axis: the logarithm of S4D-Real's decays."""

    formula: ClassVar[str] = "log 1, …, log N along the last axis"
    source: ClassVar[str] = "Gu et al. 2022 (S4D-Real); `mamba_ssm` (`A_log`)"

    def _draw_(
        self, out: Tensor, fan_in: float, fan_out: float, generator: torch.Generator | None
    ) -> None:
        states = out.shape[-1] if out.ndim else 1
        decays = torch.arange(1, states + 1, dtype=out.real.dtype, device=out.device)
        out.copy_(decays.log().reshape(out.shape[-1:]))
