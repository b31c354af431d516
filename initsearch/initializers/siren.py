"""SIREN, for networks whose activation is a sine."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from initsearch.initializers.base import Initializer, positive_fan
from initsearch.initializers.distribution import Distribution
from initsearch.initializers.registry import register


@register("siren")
@dataclass(frozen=True)
class Siren(Initializer):
    """U(+-sqrt(6 / fan_in) / omega) before sin(omega x); in the first layer U(+-1 / fan_in).

    The first layer's range does not depend on omega, which spreads its inputs over several periods.
    The paper's code leaves biases as the framework made them.

    Args:
        omega: The frequency in the activation, > 0; 30 in the paper.
        first: Whether this is the network's first layer.
    """

    formula: ClassVar[str] = "U(±√(6/fan_in)/omega); first layer: U(±1/fan_in)"
    source: ClassVar[str] = "Sitzmann et al. 2020, section 3.2 and supplement 1.5"

    omega: float = 30.0
    first: bool = False

    def __post_init__(self) -> None:
        self._number("omega", above=0.0)
        self._flag("first")

    def _draw_(
        self, out: Tensor, fan_in: float, fan_out: float, generator: torch.Generator | None
    ) -> None:
        self.drawn_from(fan_in, fan_out).draw_(out, generator)

    def moments(self, fan_in: float, fan_out: float) -> tuple[float, float]:
        """0 and limit / sqrt(3)."""
        return 0.0, self._limit(fan_in) / math.sqrt(3.0)

    def drawn_from(self, fan_in: float, fan_out: float) -> Distribution:
        """The range."""
        limit = self._limit(fan_in)
        return Distribution.uniform(-limit, limit)

    def _limit(self, fan_in: float) -> float:
        n = positive_fan(self.name, "fan_in", fan_in)
        return 1 / n if self.first else math.sqrt(6.0 / n) / self.omega
