"""Families that do not depend on fans: constant, normal, uniform."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from initsearch.errors import ConfigError
from initsearch.initializers import draws
from initsearch.initializers.base import Initializer
from initsearch.initializers.distribution import Distribution
from initsearch.initializers.registry import register


@register("constant")
@dataclass(frozen=True)
class Constant(Initializer):
    """Every entry is `value`, which is the real part in a complex tensor.

    Its presets are `zeros` and `ones`. The same in torch, Keras, JAX and TF1.
    """

    formula: ClassVar[str] = "value"
    source: ClassVar[str] = "torch `constant_`, Keras `Constant`"

    value: float = 0.0

    def __post_init__(self) -> None:
        self._number("value")

    def _draw_(
        self, out: Tensor, fan_in: float, fan_out: float, generator: torch.Generator | None
    ) -> None:
        if abs(self.value) > torch.finfo(out.dtype).max:
            raise ConfigError(
                f"constant: value must fit in {out.dtype}, but got {self.value:g}: use a smaller one"
            )
        if self.value == 0:
            out.zero_()  # a memset, faster than fill_
        else:
            out.fill_(self.value)

    def moments(self, fan_in: float, fan_out: float) -> tuple[float, float]:
        """The value, and a deviation of 0."""
        return self.value, 0.0

    def drawn_from(self, fan_in: float, fan_out: float) -> Distribution:
        """The value."""
        return Distribution.constant(self.value)


@register("normal")
@dataclass(frozen=True)
class Normal(Initializer):
    """N(mean, std^2), not truncated.

    The default std is 1 as in torch and TF1's `random_normal`; it is .05 in Keras's `RandomNormal` and
    .01 in JAX's `normal`.
    """

    formula: ClassVar[str] = "N(mean, std²)"
    source: ClassVar[str] = "torch `normal_`, TF1 `random_normal`"

    std: float = 1.0
    mean: float = 0.0

    def __post_init__(self) -> None:
        self._number("std", at_least=0.0)
        self._number("mean")

    def _draw_(
        self, out: Tensor, fan_in: float, fan_out: float, generator: torch.Generator | None
    ) -> None:
        draws.normal_(out, self.mean, self.std, generator)

    def moments(self, fan_in: float, fan_out: float) -> tuple[float, float]:
        """The fields themselves."""
        return self.mean, self.std

    def drawn_from(self, fan_in: float, fan_out: float) -> Distribution:
        """The fields themselves."""
        return Distribution.normal(self.mean, self.std)


@register("uniform")
@dataclass(frozen=True)
class Uniform(Initializer):
    """U(low, limit), where `low` is -limit unless it is given.

    The default limit is .05 as in Keras's `RandomUniform`. torch's `uniform_` has low 0, limit 1; JAX's
    `uniform` has low 0, limit .01.
    """

    formula: ClassVar[str] = "U(−limit, limit), or U(low, limit)"
    source: ClassVar[str] = "Keras `RandomUniform`, torch `uniform_`"

    limit: float = 0.05
    low: float | None = None

    def __post_init__(self) -> None:
        if self.low is None:
            self._number("limit", at_least=0.0)
        else:
            self._number("limit")
            if self._number("low") > self.limit:
                raise ConfigError(
                    f"uniform: low must be <= limit, but got {self.low:g} > {self.limit:g}: swap them"
                )

    def _draw_(
        self, out: Tensor, fan_in: float, fan_out: float, generator: torch.Generator | None
    ) -> None:
        draws.uniform_(out, self._low(), self.limit, generator)

    def moments(self, fan_in: float, fan_out: float) -> tuple[float, float]:
        """The middle of the range, and its width / sqrt(12)."""
        low = self._low()
        return (low + self.limit) / 2, (self.limit - low) / math.sqrt(12.0)

    def drawn_from(self, fan_in: float, fan_out: float) -> Distribution:
        """The range."""
        return Distribution.uniform(self._low(), self.limit)

    def _low(self) -> float:
        return -self.limit if self.low is None else self.low
