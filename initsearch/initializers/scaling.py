"""Variance scaling, the general formula of Glorot, He, LeCun and Caffe; and torch's default."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from initsearch.errors import ConfigError, quoted
from initsearch.initializers.base import Initializer, positive_fan
from initsearch.initializers.distribution import Distribution
from initsearch.initializers.registry import register
from initsearch.initializers.truncation import TWO_SIGMA_STD

MODES = ("fan_in", "fan_out", "fan_avg", "fan_geo_avg")
DISTRIBUTIONS = ("normal", "uniform", "truncated_normal", "untruncated_normal")
DIALECTS = ("torch", "keras", "tf1")

# tf.contrib compensates for the truncation by this rounded factor on the variance, which leaves a
# deviation of 1.003 of the target.
_TF1_VARIANCE_FACTOR = 1.3


def count_connections(name: str, mode: str, fan_in: float, fan_out: float) -> float:
    """n of the variance-scaling formula.

    Args:
        name: Of the initializer, for errors.
        mode: "fan_in", "fan_out", "fan_avg" (arithmetic mean) or "fan_geo_avg" (geometric mean).
        fan_in: Inputs per output.
        fan_out: Outputs per input.

    Raises:
        ConfigError: A fan that the mode uses is not > 0 and finite.
    """
    if mode == "fan_in":
        return positive_fan(name, "fan_in", fan_in)
    if mode == "fan_out":
        return positive_fan(name, "fan_out", fan_out)
    fan_in = positive_fan(name, "fan_in", fan_in)
    fan_out = positive_fan(name, "fan_out", fan_out)
    if mode == "fan_avg":
        return fan_in / 2 + fan_out / 2
    return math.sqrt(fan_in) * math.sqrt(fan_out)


def scaled(std: float, distribution: str, dialect: str) -> Distribution:
    """Mean 0 and deviation `std` (1.003 std for tf1's truncated normal).

    Args:
        std: Target deviation.
        distribution: One of DISTRIBUTIONS, in the meaning that `dialect` gives it.
        dialect: One of DIALECTS.
    """
    if distribution == "uniform":
        limit = math.sqrt(3.0) * std
        return Distribution.uniform(-limit, limit)
    if distribution == "untruncated_normal" or (distribution, dialect) == ("normal", "torch"):
        return Distribution.normal(0.0, std)
    return Distribution.truncated_normal(0.0, std * parent_ratio(dialect), -2.0, 2.0)


def parent_ratio(dialect: str) -> float:
    """The sigma of the normal that is truncated at +-2 sigma, divided by the target deviation."""
    return math.sqrt(_TF1_VARIANCE_FACTOR) if dialect == "tf1" else 1 / TWO_SIGMA_STD


@register("variance_scaling")
@dataclass(frozen=True)
class VarianceScaling(Initializer):
    """Mean 0, variance factor / n, where n is a count of connections.

    The uniform distribution has limit sqrt(3 factor / n). What "normal" means depends on the dialect:

    - torch (default), as in JAX and timm: "normal" is not truncated; "truncated_normal" is
      truncated at +-2 sigma, sigma widened by 1 / .87962566103423978 so that the deviation is
      sqrt(factor / n).
    - keras: "normal" is that truncated one; "untruncated_normal" is not truncated.
    - tf1 (`tf.contrib.layers.variance_scaling_initializer`): normal (`uniform=False`) is truncated
      at +-2 sigma with sigma = sqrt(1.3 factor / n), a deviation of 1.003 sqrt(factor / n). The 1.3
      is in its code, but not in its documentation.

    The defaults are TF1's (factor 2, fan_in, normal), which is He's formula. Keras's `VarianceScaling`
    has factor 1 by default: see the preset `keras_variance_scaling`. torch has neither fan_avg nor a
    free factor; "fan_geo_avg" = sqrt(fan_in fan_out) is from JAX. TF1's spellings ("FAN_AVG",
    `uniform: true`) and the `scale` of Keras and JAX are accepted. A vector's fans are both its length,
    as in TF1.

    Args:
        factor: Factor on the variance, > 0; the `scale` of Keras and JAX.
        mode: "fan_in", "fan_out", "fan_avg", "fan_geo_avg".
        distribution: "normal", "uniform", "truncated_normal", "untruncated_normal".
        dialect: "torch", "keras", "tf1".
    """

    formula: ClassVar[str] = "variance factor / n; uniform: U(±√(3 factor / n))"
    source: ClassVar[str] = (
        "Keras `VarianceScaling`, JAX `variance_scaling`, TF1 `variance_scaling_initializer`"
    )

    factor: float = 2.0
    mode: str = "fan_in"
    distribution: str = "normal"
    dialect: str = "torch"

    def __post_init__(self) -> None:
        self._number("factor", above=0.0)
        self._choice("mode", MODES)
        self._choice("distribution", DISTRIBUTIONS)
        self._choice("dialect", DIALECTS)
        if self.dialect == "tf1" and self.distribution == "untruncated_normal":
            raise ConfigError(
                "variance_scaling: dialect tf1 has the distributions normal (truncated) and "
                "uniform, but got 'untruncated_normal': use dialect torch for it"
            )

    @classmethod
    def translate(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Translate Keras's and JAX's `scale` into the factor, and TF1's `uniform` into the distribution.

        Raises:
            ConfigError: Both names are given, or `uniform` is not a boolean.
        """
        translated = dict(settings)
        if "scale" in translated:
            if "factor" in translated:
                raise ConfigError(
                    "variance_scaling: scale is Keras's name of factor, but got both: remove scale"
                )
            translated["factor"] = translated.pop("scale")
        if "uniform" in translated:
            uniform = translated.pop("uniform")
            if "distribution" in translated or not isinstance(uniform, bool):
                raise ConfigError(
                    "variance_scaling: uniform must be true or false and stand instead of a "
                    f"distribution, but got {quoted(uniform)}: write distribution: uniform"
                )
            translated["distribution"] = "uniform" if uniform else "normal"
        return translated

    def _draw_(
        self, out: Tensor, fan_in: float, fan_out: float, generator: torch.Generator | None
    ) -> None:
        self.drawn_from(fan_in, fan_out).draw_(out, generator)

    def moments(self, fan_in: float, fan_out: float) -> tuple[float, float]:
        """0 and sqrt(factor / n); 1.003 times that for tf1's truncated normal."""
        std = self._target(fan_in, fan_out)
        if self.dialect == "tf1" and self.distribution != "uniform":
            std *= parent_ratio("tf1") * TWO_SIGMA_STD
        return 0.0, std

    def drawn_from(self, fan_in: float, fan_out: float) -> Distribution:
        """What the fields come to: dialects, and modes on square layers, may agree."""
        return scaled(self._target(fan_in, fan_out), self.distribution, self.dialect)

    def _target(self, fan_in: float, fan_out: float) -> float:
        n = count_connections(self.name, self.mode, fan_in, fan_out)
        return math.sqrt(self.factor / n)


@register("torch_default")
@dataclass(frozen=True)
class TorchDefault(Initializer):
    """The default of torch's Linear and convolutions: kaiming_uniform_(a=sqrt(5)).

    U(+-1 / sqrt(fan_in)), variance 1 / (3 fan_in). The bias has the same bound, from the fan_in of
    the layer's weight. As a plan for a whole model, it draws every layer as that layer's own
    `reset_parameters`: embeddings N(0, 1), norms 1 and 0, recurrent layers U(+-1 / sqrt(hidden)).
    """

    formula: ClassVar[str] = "U(±1/√fan_in)"
    source: ClassVar[str] = "torch `nn.Linear`, `nn.Conv2d`: `kaiming_uniform_(a=√5)`"

    def _draw_(
        self, out: Tensor, fan_in: float, fan_out: float, generator: torch.Generator | None
    ) -> None:
        self.drawn_from(fan_in, fan_out).draw_(out, generator)

    def moments(self, fan_in: float, fan_out: float) -> tuple[float, float]:
        """0 and 1 / sqrt(3 fan_in)."""
        return 0.0, 1 / math.sqrt(3 * positive_fan(self.name, "fan_in", fan_in))

    def drawn_from(self, fan_in: float, fan_out: float) -> Distribution:
        """The range."""
        limit = 1 / math.sqrt(positive_fan(self.name, "fan_in", fan_in))
        return Distribution.uniform(-limit, limit)
