"""Variance scaling with the gain of the activation that follows."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from initsearch.dotted import check_allowed
from initsearch.errors import ConfigError, quoted
from initsearch.initializers.base import Initializer
from initsearch.initializers.distribution import Distribution
from initsearch.initializers.gains import GAINS, gain
from initsearch.initializers.registry import register
from initsearch.initializers.scaling import DIALECTS, DISTRIBUTIONS, MODES, VarianceScaling


@register("activation_scaling")
@dataclass(frozen=True)
class ActivationScaling(Initializer):
    """Mean 0, deviation gain / sqrt(n): variance scaling with factor = gain^2.

    With `gain: torch` this is `kaiming_normal_(nonlinearity=activation)`, or `kaiming_uniform_`. The
    other gains exist for every activation, also for users' own; `gains.gain` explains them.

    Args:
        activation: A name (see `list_activations`) or the dotted path of a function or Module class.
        gain: "second_moment", "chi" or "torch".
        param: The activation's parameter (leaky_relu's slope, elu's alpha, ...).
        mode: As in `variance_scaling`.
        distribution: As in `variance_scaling`.
        dialect: As in `variance_scaling`.
    """

    formula: ClassVar[str] = "variance gain²/n; gain = E[φ(z)²]^−½, E[φ′(z)²]^−½ or torch's table"
    source: ClassVar[str] = (
        "He et al. 2015, Schoenholz et al. 2017 (by quadrature); torch `calculate_gain`"
    )

    activation: str = "relu"
    gain: str = "second_moment"
    param: float | None = None
    mode: str = "fan_in"
    distribution: str = "normal"
    dialect: str = "torch"

    def __post_init__(self) -> None:
        require_named(self.name, self.activation)
        self._choice("gain", GAINS)
        if self.param is not None:
            self._number("param")
        self._choice("mode", MODES)
        self._choice("distribution", DISTRIBUTIONS)
        self._choice("dialect", DIALECTS)
        self._scaling()  # raises for what the general formula refuses

    def _draw_(
        self, out: Tensor, fan_in: float, fan_out: float, generator: torch.Generator | None
    ) -> None:
        self._scaling()._draw_(out, fan_in, fan_out, generator)

    def moments(self, fan_in: float, fan_out: float) -> tuple[float, float] | None:
        """As `variance_scaling` with factor gain^2."""
        return self._scaling().moments(fan_in, fan_out)

    def drawn_from(self, fan_in: float, fan_out: float) -> Distribution:
        """As `variance_scaling` with that factor."""
        return self._scaling().drawn_from(fan_in, fan_out)

    def _scaling(self) -> VarianceScaling:
        factor = gain(self.activation, self.gain, self.param) ** 2
        return VarianceScaling(factor, self.mode, self.distribution, self.dialect)


def require_named(name: str, activation: object) -> None:
    """Raise ConfigError for an activation that a plan file cannot hold, or that is not allowed there."""
    if not isinstance(activation, str):
        raise ConfigError(
            f"{name}: activation must be a name or a dotted path, but got {quoted(activation)}: for an "
            "object use variance_scaling with factor=initsearch.initializers.gain(it) ** 2"
        )
    # Here and not only on import: a gain that was computed before is cached.
    if "." in activation:
        check_allowed("activation", activation)
