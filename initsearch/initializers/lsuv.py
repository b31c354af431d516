"""Layer-sequential unit variance: orthogonal, then scaled to unit variance of the output on a batch."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from initsearch.errors import ConfigError
from initsearch.initializers.layer_scaling import LayerScaling
from initsearch.initializers.orthogonal import Orthogonal
from initsearch.initializers.registry import register


@register("lsuv")
@dataclass(frozen=True)
class LSUV(LayerScaling):
    """Orthogonal, then divided by the standard deviation of the layer's output on a batch.

    Layer by layer in execution order, until |Var[output] - 1| < tolerance, at most `max_attempts`
    times (Mishkin and Matas 2016, algorithm 1). The output is the layer's own, before norm and
    activation; it includes the bias, which is not scaled. A plan fills all other parameters first, and
    `InitPlan.apply` needs a batch; for the rules see `initsearch.layers.rescale_`. `fill_` alone draws
    the orthogonal matrix.

    Args:
        tolerance: The largest |variance - 1| that is accepted, > 0.
        max_attempts: The most times that a weight is divided, >= 1.
    """

    formula: ClassVar[str] = "Q, then divided by the std of the layer's output on a batch"
    source: ClassVar[str] = "Mishkin and Matas 2016 (LSUV), algorithm 1"

    tolerance: float = 0.1
    max_attempts: int = 10

    def __post_init__(self) -> None:
        self._number("tolerance", above=0.0)
        self._integer("max_attempts", 1)

    def _draw_(
        self, out: Tensor, fan_in: float, fan_out: float, generator: torch.Generator | None
    ) -> None:
        if out.ndim < 2:
            raise ConfigError(
                f"{self.name}: the tensor must have at least 2 dimensions, but got shape "
                f"{tuple(out.shape)}: use another initializer for it"
            )
        Orthogonal()._draw_(out, fan_in, fan_out, generator)

    def attempts(self) -> int:
        """The field."""
        return self.max_attempts

    def factor(self, variance: float) -> float | None:
        """1 / sqrt(variance), or `None` within the tolerance."""
        return None if abs(variance - 1.0) < self.tolerance else 1.0 / math.sqrt(variance)
