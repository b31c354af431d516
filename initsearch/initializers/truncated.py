"""The truncated normal, with the bounds of every framework."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from initsearch.errors import ConfigError
from initsearch.initializers.base import Initializer
from initsearch.initializers.distribution import Distribution
from initsearch.initializers.registry import register
from initsearch.initializers.truncation import parent_std, truncated_moments

BOUNDS = ("sigma", "absolute")


@register("truncated_normal")
@dataclass(frozen=True)
class TruncatedNormal(Initializer):
    """N(mean, sigma^2), conditioned on the values within the bounds.

    Frameworks differ:

    - TF1's and Keras's `truncated_normal`, JAX's and timm's `trunc_normal_tf_` (the defaults here):
      bounds of +-2 sigma with sigma = std; the entries have a deviation of .8796 std. The default std
      is .05 in Keras, .01 in JAX, 1 in TF1 and timm.
    - torch's and timm's `trunc_normal_`: `bounds: absolute`, of +-2; with std .02 this truncates
      practically nothing.

    Args:
        std: sigma, >= 0; with `corrected`, the deviation of the entries.
        mean: Mean before truncation.
        low: Lower bound.
        high: Upper bound.
        bounds: "sigma": the bounds are in sigmas from the mean; "absolute": they are values.
        corrected: Widen sigma until the truncated distribution has a deviation of exactly `std`.
    """

    formula: ClassVar[str] = "N(mean, std²) within mean + [low, high]·std, or within [low, high]"
    source: ClassVar[str] = (
        "TF1 and Keras `truncated_normal` (sigma), torch and timm `trunc_normal_` (absolute)"
    )

    std: float = 1.0
    mean: float = 0.0
    low: float = -2.0
    high: float = 2.0
    bounds: str = "sigma"
    corrected: bool = False

    def __post_init__(self) -> None:
        self._number("std", at_least=0.0)
        self._number("mean")
        self._number("low")
        if self._number("high") <= self.low:
            raise ConfigError(
                f"truncated_normal: high must be > low, but got low={self.low:g}, high={self.high:g}: "
                "swap or widen them"
            )
        self._choice("bounds", BOUNDS)
        self._flag("corrected")
        if self.std == 0:
            if self.bounds == "absolute" and not self.low <= self.mean <= self.high:
                raise ConfigError(
                    f"truncated_normal: with std 0 the mean must lie within the bounds, but got "
                    f"{self.mean:g}: widen them"
                )
        elif math.isnan(self._effective()[1]):
            raise ConfigError(
                "truncated_normal: the bounds must hold some of the normal's mass"
                + (" and leave room for the std" if self.corrected else "")
                + f", but got low={self.low:g}, high={self.high:g} ({self.bounds}) for mean "
                f"{self.mean:g}, std {self.std:g}: widen them"
            )

    def _draw_(
        self, out: Tensor, fan_in: float, fan_out: float, generator: torch.Generator | None
    ) -> None:
        self.drawn_from(fan_in, fan_out).draw_(out, generator)

    def moments(self, fan_in: float, fan_out: float) -> tuple[float, float]:
        """Of the truncated distribution, in closed form."""
        return (self.mean, 0.0) if self.std == 0 else self._effective()

    def drawn_from(self, fan_in: float, fan_out: float) -> Distribution:
        """The normal before truncation, and the bounds."""
        if self.std == 0:
            return Distribution.constant(self.mean)
        return Distribution.truncated_normal(self.mean, *self._parent())

    def _parent(self) -> tuple[float, float, float]:
        """The sigma of the normal before truncation, and the bounds in sigmas from its mean."""
        if self.bounds == "sigma":
            shrink = truncated_moments(self.low, self.high)[1] if self.corrected else 1.0
            return (self.std / shrink if shrink else math.nan), self.low, self.high
        sigma = parent_std(self.std, self.mean, self.low, self.high) if self.corrected else self.std
        return sigma, (self.low - self.mean) / sigma, (self.high - self.mean) / sigma

    def _effective(self) -> tuple[float, float]:
        """Mean and deviation of an entry; NaN if there is no mass within the bounds."""
        sigma, low, high = self._parent()
        if math.isnan(sigma):
            return math.nan, math.nan
        shift, shrink = truncated_moments(low, high)
        return self.mean + sigma * shift, sigma * shrink
