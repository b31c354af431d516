"""Weights and biases at the edge of chaos of a given activation."""

import functools
import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from initsearch.errors import ConfigError
from initsearch.initializers.activation_scaling import require_named
from initsearch.initializers.base import Initializer
from initsearch.initializers.distribution import Distribution
from initsearch.initializers.gains import find_activation
from initsearch.initializers.quadrature import Activation, second_moment, slope_moment
from initsearch.initializers.registry import register
from initsearch.initializers.scaling import DISTRIBUTIONS, VarianceScaling
from initsearch.initializers.simple import Constant, Normal

# Range and number of grid points of the search for a fixed point of the pre-activations' variance.
_SMALLEST, _LARGEST, _STEPS = 1e-8, 1e4, 121


@register("edge_of_chaos")
@dataclass(frozen=True)
class EdgeOfChaos(Initializer):
    """Weights of variance sigma_w^2 / fan_in with sigma_w^2 solved for chi_1 = 1.

    In a wide network, q = sigma_w^2 E[phi(sqrt(q) z)^2] + sigma_b^2 is the fixed point of the
    pre-activations' variance, and chi_1 = sigma_w^2 E[phi'(sqrt(q) z)^2] the factor by which gradients
    grow per layer. Both are solved together (Poole et al. 2016; Schoenholz et al. 2017). For tanh,
    sigma_b^2 .01 / .05 / .1 / .3 gives sigma_w^2 1.424 / 1.761 / 1.986 / 2.505. relu has its edge at
    sigma_b = 0, sigma_w^2 = 2 only (He). The bias of the same layer is N(0, sigma_b^2): see `bias`.

    For gelu and silu with a small bias variance the fixed point is unstable (q below about 4 and 20):
    a variance next to it drifts away by up to 10% per layer.

    Args:
        activation: A name (see `list_activations`) or the dotted path of a function or Module class.
        bias_variance: sigma_b^2, >= 0.
        param: The activation's parameter.
        distribution: As in `variance_scaling`.

    Raises:
        ConfigError: The activation has no edge of chaos at this bias variance.
    """

    formula: ClassVar[str] = "variance σ_w²/fan_in, σ_w² solved for χ₁ = 1 at bias variance σ_b²"
    source: ClassVar[str] = "Poole et al. 2016; Schoenholz et al. 2017"

    activation: str = "tanh"
    bias_variance: float = 0.05
    param: float | None = None
    distribution: str = "normal"

    def __post_init__(self) -> None:
        require_named(self.name, self.activation)
        self._number("bias_variance", at_least=0.0)
        if self.param is not None:
            self._number("param")
        self._choice("distribution", DISTRIBUTIONS)
        critical_weight_variance(self.activation, self.bias_variance, self.param)

    def _draw_(
        self, out: Tensor, fan_in: float, fan_out: float, generator: torch.Generator | None
    ) -> None:
        self._scaling()._draw_(out, fan_in, fan_out, generator)

    def moments(self, fan_in: float, fan_out: float) -> tuple[float, float]:
        """0 and sigma_w / sqrt(fan_in)."""
        return self._scaling().moments(fan_in, fan_out)

    def drawn_from(self, fan_in: float, fan_out: float) -> Distribution:
        """As `variance_scaling` with that factor."""
        return self._scaling().drawn_from(fan_in, fan_out)

    def bias(self) -> Initializer:
        """N(0, sigma_b^2)."""
        return Normal(math.sqrt(self.bias_variance)) if self.bias_variance else Constant(0.0)

    def _scaling(self) -> VarianceScaling:
        variance = critical_weight_variance(self.activation, self.bias_variance, self.param)
        return VarianceScaling(variance, "fan_in", self.distribution)


@functools.cache
def critical_weight_variance(
    activation: str, bias_variance: float, param: float | None = None
) -> float:
    """The sigma_w^2 for which chi_1 = 1 at the fixed point of the pre-activations' variance.

    Raises:
        ConfigError: No fixed point between 1e-8 and 1e4.
    """
    phi = find_activation(activation, param)
    if bias_variance == 0 and abs(float(phi(torch.zeros(1, dtype=torch.float64)))) < 1e-12:
        # The fixed point is q = 0 (or any q, for ReLU and similar ones): take the limit.
        return 1 / _slope(phi, activation, 1e-12)
    ratio = (_LARGEST / _SMALLEST) ** (1 / (_STEPS - 1))
    q = _SMALLEST
    below, low = _excess(phi, activation, bias_variance, q), q
    for _ in range(_STEPS - 1):
        q *= ratio
        above = _excess(phi, activation, bias_variance, q)
        if (below > 0) != (above > 0):
            break
        below, low = above, q
    else:
        raise ConfigError(
            f"edge_of_chaos: {activation} must have a fixed point with chi_1 = 1, but has none at "
            f"bias_variance {bias_variance:g}: relu and similar ones have it at 0 only"
        )
    high = q
    for _ in range(60):
        middle = math.sqrt(low * high)
        if (_excess(phi, activation, bias_variance, middle) > 0) == (below > 0):
            low = middle
        else:
            high = middle
    return 1 / _slope(phi, activation, low)


def _excess(phi: Activation, title: str, bias_variance: float, q: float) -> float:
    """The variance map at chi_1 = 1 minus q: zero at the fixed point."""
    return second_moment(phi, q) / _slope(phi, title, q) + bias_variance - q


def _slope(phi: Activation, title: str, q: float) -> float:
    value = slope_moment(phi, q)
    if not value > 1e-12:
        raise ConfigError(
            f"edge_of_chaos: {title} must have a slope, but got a mean square of {value:g} at "
            f"variance {q:g}: use another initializer"
        )
    return value
