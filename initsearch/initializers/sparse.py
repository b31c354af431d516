"""Sparse weights."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from initsearch.errors import ConfigError
from initsearch.initializers import draws
from initsearch.initializers.base import Initializer
from initsearch.initializers.registry import register


@register("sparse")
@dataclass(frozen=True)
class Sparse(Initializer):
    """N(0, std^2) with exactly ceil(sparsity * out) entries of every column set to zero.

    A column holds the weights of one input. torch's `sparse_` has the same distribution for 2-D tensors,
    and no default for sparsity. A convolution's weight, which torch refuses, is filled as (out, rest).

    Args:
        sparsity: Share of zeros in a column, 0 <= sparsity < 1.
        std: Standard deviation of the other entries, >= 0.

    Raises:
        ConfigError: From `fill_`, for a tensor of fewer than two dimensions.
    """

    formula: ClassVar[str] = "N(0, std²), a share of `sparsity` of each column 0"
    source: ClassVar[str] = "torch `sparse_`; Martens 2010"

    sparsity: float = 0.9
    std: float = 0.01

    def __post_init__(self) -> None:
        self._number("sparsity", at_least=0.0, below=1.0)
        self._number("std", at_least=0.0)

    def _draw_(
        self, out: Tensor, fan_in: float, fan_out: float, generator: torch.Generator | None
    ) -> None:
        if out.ndim < 2:
            raise ConfigError(
                f"{self.name}: the tensor must have at least 2 dimensions, but got shape "
                f"{tuple(out.shape)}: use another initializer for it"
            )
        draws.normal_(out, 0.0, self.std, generator)
        columns = out.view(out.shape[0], -1)
        zeros = math.ceil(self.sparsity * out.shape[0])
        numbers = torch.rand(columns.shape, generator=generator, device=out.device)
        # Sorting random numbers permutes the rows of each column, all columns at once.
        columns.masked_fill_(numbers.argsort(dim=0) < zeros, 0)
