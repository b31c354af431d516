"""Mimetic initialization: attention whose products look like those of trained transformers."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from initsearch.errors import ConfigError
from initsearch.initializers import draws
from initsearch.initializers.base import Facts, Initializer
from initsearch.initializers.registry import register

_SIDES = ("query", "key", "value", "output")


@register("mimetic")
@dataclass(frozen=True)
class Mimetic(Initializer):
    """One factor of a product near a multiple of the identity: query and key, or value and output projection.

    For d inputs and each head of k outputs, with Z of entries N(0, 1/d):

    - W_q W_k^T is the best approximation of rank k to .7 Z + .7 I, by its singular value decomposition; each
      head has its own Z;
    - W_v W_o = .4 Z - .4 I, over all heads together.

    In a plan, both factors of a product come from one random stream, that of the module that holds both layers.
    The recipe `mimetic` has the rules. A bare tensor is filled as `side`.

    Args:
        alpha: Factor of Z, >= 0. Default: .7 for query and key, .4 for value and output.
        beta: Factor of I, >= 0. Default: the same.
        side: "query", "key", "value", or "output" for the projection after attention. In a plan it comes from
            the parameter.
        heads: Heads of query or key, >= 1. Default: from the model; one for a bare tensor.

    Raises:
        ConfigError: From `fill_`, for a tensor that has more outputs than inputs in a head or, as value or
            output, is not square.
    """

    formula: ClassVar[str] = "W_q W_kᵀ ≈ .7 Z + .7 I per head; W_v W_o = .4 Z − .4 I; Z ~ N(0, 1/d)"
    source: ClassVar[str] = "Trockman and Kolter 2023 (arXiv:2305.09828), section 3"
    needs: ClassVar[frozenset[str]] = frozenset({"part"})

    alpha: float | None = None
    beta: float | None = None
    side: str = "output"
    heads: int | None = None

    def __post_init__(self) -> None:
        self._choice("side", _SIDES)
        if self.alpha is not None:
            self._number("alpha", at_least=0.0)
        if self.beta is not None:
            self._number("beta", at_least=0.0)
        if self.heads is not None:
            self._integer("heads", 1)

    @property
    def factors(self) -> tuple[float, float]:
        """Those of Z and of I in the product."""
        by_head = self.side in ("query", "key")
        usual = 0.7 if by_head else 0.4
        alpha = usual if self.alpha is None else self.alpha
        beta = usual if self.beta is None else self.beta
        return alpha, beta if by_head else -beta

    def resolved(self, facts: Facts) -> "Mimetic":
        """With the side that the parameter is, and the heads of its attention.

        Raises:
            ConfigError: A query or key whose attention module has no number of heads.
        """
        side = facts.label if facts.label in _SIDES else "output"
        heads = self.heads or facts.heads
        if side in ("query", "key") and not heads:
            raise ConfigError(
                f"{self.name}: the number of heads must be known, but the attention module has no num_heads: "
                "give heads"
            )
        return replace(self, side=side, heads=heads or None)

    def stream(self, facts: Facts) -> str:
        """That of the product: both factors draw the same Z."""
        owner = facts.module_name
        if facts.kind != "attention":  # torch's attention holds its packed weight itself
            owner = owner.rpartition(".")[0]
        pair = "query, key" if self.side in ("query", "key") else "value, output"
        return f"{owner}[{pair}]"

    def _draw_(
        self, out: Tensor, fan_in: float, fan_out: float, generator: torch.Generator | None
    ) -> None:
        rows = out.reshape(len(out), -1) if out.ndim > 1 else out.reshape(-1, 1)
        by_head = self.side in ("query", "key")
        heads = (self.heads or 1) if by_head else 1
        size, width = rows.shape[0] // heads, rows.shape[1]
        if rows.shape[0] % heads or size > width or (not by_head and size != width):
            rule = (
                f"at most {width} outputs for each of {heads} heads"
                if by_head
                else "a square matrix"
            )
            raise ConfigError(
                f"{self.name}: {self.side} must be {rule}, but got shape {tuple(out.shape)}: use another "
                "initializer"
            )
        for head in rows.view(heads, size, width):
            head.copy_(self._factor(width, size, head, generator))
        out.copy_(rows.view(out.shape))

    def _factor(
        self, width: int, size: int, like: Tensor, generator: torch.Generator | None
    ) -> Tensor:
        """One side of a product of rank `size`, as (outputs, inputs)."""
        alpha, beta = self.factors
        product = torch.empty(width, width, dtype=like.dtype, device=like.device)
        draws.normal_(product, 0.0, 1 / math.sqrt(width), generator)
        product.mul_(alpha).diagonal().add_(beta)
        left, values, right = torch.linalg.svd(product)
        factor: Tensor = left[:, :size].t() if self.side in ("query", "value") else right[:size]
        factor = factor * values[:size].sqrt().unsqueeze(1)
        return factor.t() if self.side == "output" else factor
