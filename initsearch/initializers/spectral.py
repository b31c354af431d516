"""Spectral initialization, with which features keep their size at any width."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from initsearch.initializers.base import Initializer, positive_fan
from initsearch.initializers.distribution import Distribution
from initsearch.initializers.registry import register


@register("spectral")
@dataclass(frozen=True)
class Spectral(Initializer):
    """N(0, sigma^2) with sigma = gain / sqrt(fan_in) * min(1, sqrt(fan_out / fan_in)).

    The spectral norm of such a matrix is about sqrt(fan_out / fan_in), whatever its shape: outputs have the
    root mean square of inputs. A readout, with few outputs, is smaller than LeCun's by sqrt(out / in), as in
    muP.

    Args:
        gain: Factor on the deviation, > 0.
    """

    formula: ClassVar[str] = "N(0, σ²), σ = gain/√fan_in · min(1, √(fan_out/fan_in))"
    source: ClassVar[str] = "Yang, Simon and Bernstein 2023 (arXiv:2310.17813), parametrization 1"

    gain: float = 1.0

    def __post_init__(self) -> None:
        self._number("gain", above=0.0)

    def _draw_(
        self, out: Tensor, fan_in: float, fan_out: float, generator: torch.Generator | None
    ) -> None:
        self.drawn_from(fan_in, fan_out).draw_(out, generator)

    def moments(self, fan_in: float, fan_out: float) -> tuple[float, float]:
        """0 and sigma."""
        return 0.0, self._std(fan_in, fan_out)

    def drawn_from(self, fan_in: float, fan_out: float) -> Distribution:
        """The normal with that deviation."""
        return Distribution.normal(0.0, self._std(fan_in, fan_out))

    def _std(self, fan_in: float, fan_out: float) -> float:
        inputs = positive_fan(self.name, "fan_in", fan_in)
        outputs = positive_fan(self.name, "fan_out", fan_out)
        return self.gain / math.sqrt(inputs) * min(1.0, math.sqrt(outputs / inputs))
