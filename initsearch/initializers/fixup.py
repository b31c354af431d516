"""Fixup's scale for the inner layers of residual branches."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from initsearch.errors import ConfigError
from initsearch.initializers.base import Facts, Initializer, positive_fan
from initsearch.initializers.distribution import Distribution
from initsearch.initializers.registry import register


@register("fixup_scaled")
@dataclass(frozen=True)
class FixupScaled(Initializer):
    """N(0, 2/fan_out) times L^(-1/(2m-2)): He's normal, scaled down with the number of residual branches.

    For the inner layers of a residual branch of m weight layers in a model of L branches, whose last
    layers are zero (Zhang, Dauphin and Ma 2019, section 3, rule 2; as in their code, the base is
    N(0, 2/(out k^2))). The plan `fixup` has all of Fixup's rules. L and m come from the model's graph
    unless they are given. A layer outside of branches, and a bare tensor, is drawn from
    N(0, 2/fan_out). m is the length of the longest chain of layers: parallel projections (query, key,
    value) count as one, both layers of a squeeze-and-excitation inside a branch count.

    Args:
        branches: L, >= 1. Default: from the model.
        layers: m, >= 2. Default: from the model.

    Raises:
        ConfigError: In a plan, for the only layer of a branch: such a branch has no inner layers.
    """

    formula: ClassVar[str] = "N(0, 2/fan_out) · L^(−1/(2m−2)), m layers in each of L branches"
    source: ClassVar[str] = "Zhang, Dauphin and Ma 2019 (Fixup), section 3"
    needs: ClassVar[frozenset[str]] = frozenset({"branch"})

    branches: int | None = None
    layers: int | None = None

    def __post_init__(self) -> None:
        if self.branches is not None:
            self._integer("branches", 1)
        if self.layers is not None:
            self._integer("layers", 2)

    def resolved(self, facts: Facts) -> "FixupScaled":
        """With L and m from the model, if they are not given."""
        if facts.branch not in ("inner", "last"):
            return self
        layers = self.layers or facts.branch_layers
        if layers < 2:
            raise ConfigError(
                f"{self.name}: a branch must have at least 2 weight layers, but got {layers}: use zeros "
                "for its last one (where: {branch: last})"
            )
        return replace(self, branches=self.branches or facts.branches, layers=layers)

    def _draw_(
        self, out: Tensor, fan_in: float, fan_out: float, generator: torch.Generator | None
    ) -> None:
        self.drawn_from(fan_in, fan_out).draw_(out, generator)

    def moments(self, fan_in: float, fan_out: float) -> tuple[float, float]:
        """0 and sqrt(2 / fan_out) L^(-1/(2m-2))."""
        return 0.0, self._std(fan_out)

    def drawn_from(self, fan_in: float, fan_out: float) -> Distribution:
        """The normal with that deviation."""
        return Distribution.normal(0.0, self._std(fan_out))

    def _std(self, fan_out: float) -> float:
        std = math.sqrt(2.0 / positive_fan(self.name, "fan_out", fan_out))
        if self.branches is None or self.layers is None:
            return std
        return std * float(self.branches ** (-1.0 / (2 * self.layers - 2)))
