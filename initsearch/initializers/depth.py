"""Scales that depend on depth, over any other initializer."""

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from initsearch.errors import ConfigError, quoted
from initsearch.initializers.base import Facts, Initializer
from initsearch.initializers.distribution import Distribution
from initsearch.initializers.registry import get_initializer, register
from initsearch.initializers.simple import Normal

_RULES = ("total", "index", "blocks", "inverse", "deepnet", "t_fixup")
# A transformer's layer adds the outputs of attention and of its MLP; a decoder's also those of cross attention.
_BRANCHES_OF_LAYER = {"encoder": 2, "decoder": 3}
_GIVE = "give factor, or use it in a rule with where: {branch: last}"


@register("depth_scaled")
@dataclass(frozen=True)
class DepthScaled(Initializer):
    """Any initializer, multiplied by a factor that falls with the depth of the model.

    L is the number of residual branches and l = 0, 1, ... the index of the branch, both from the model. A
    transformer of N layers has L = 2N branches, and its layer n has the branches 2n and 2n + 1. The rules:

    - total: 1/sqrt(L), which is GPT-2's 1/sqrt(2N);
    - index: 1/sqrt(2(n + 1)), by the layer's own index (torchtitan, "Mitchell");
    - blocks: 1/sqrt(N), N the number of blocks that have this parameter (Mamba);
    - inverse: 2/L = 1/N (Wang's, of GPT-J and GPT-NeoX);
    - deepnet: (8N)^(-1/4); with an encoder of N and a decoder of M layers, .87 (N^4 M)^(-1/16) and
      (12M)^(-1/4);
    - t_fixup: .67 N^(-1/4), in the decoder of an encoder-decoder (9M)^(-1/4); embeddings (9N)^(-1/4).

    Encoder and decoder are recognized by that word in the parameter's name. A bare tensor is drawn from `base`.

    Args:
        base: The initializer that is scaled: a name or a mapping; default `normal(std=0.02)`, as GPT-2.
        rule: One of the above.
        factor: The factor itself, > 0. Default: from the model.

    Raises:
        ConfigError: `base` needs more than fans; or, in a plan, the model has no residual branch, or for
            `index` the parameter is in none.
    """

    formula: ClassVar[str] = "base · 1/√L (L residual branches), or another rule of depth"
    source: ClassVar[str] = (
        "Radford et al. 2019 (GPT-2), section 2.3; Wang et al. 2022 (DeepNet), table 1; Huang et al. 2020 "
        "(T-Fixup), section 3.2"
    )
    needs: ClassVar[frozenset[str]] = frozenset({"branch"})

    base: Any = field(default=Normal(0.02))
    rule: str = "total"
    factor: float | None = None

    def __post_init__(self) -> None:
        base = get_initializer(self.base)
        if base.needs:
            raise ConfigError(
                f"{self.name}: base must draw from fans alone, but got {quoted(base.label())}: use for "
                "instance normal or glorot_normal"
            )
        object.__setattr__(self, "base", base)
        self._choice("rule", _RULES)
        if self.factor is not None:
            self._number("factor", above=0.0)

    def resolved(self, facts: Facts) -> "DepthScaled":
        """With the factor of the parameter's place in the model, if it is not given."""
        return self if self.factor is not None else replace(self, factor=self._factor(facts))

    def _factor(self, facts: Facts) -> float:
        if self.rule == "blocks":
            return float(facts.siblings**-0.5)
        if not facts.branches:
            raise ConfigError(
                f"{self.name}: the model must have residual branches, but has none: {_GIVE}"
            )
        if self.rule == "total":
            return float(facts.branches**-0.5)
        if self.rule == "inverse":
            return 2.0 / facts.branches
        if self.rule == "index":
            if facts.branch_index is None:
                raise ConfigError(
                    f"{self.name}: the parameter must be in a residual branch, but is in none: {_GIVE}"
                )
            layer = facts.branch_index // _BRANCHES_OF_LAYER["encoder"]
            return float((2 * (layer + 1)) ** -0.5)
        layers = {
            stack: dict(facts.stack_branches).get(stack, 0) / count
            for stack, count in _BRANCHES_OF_LAYER.items()
        }
        depth = facts.branches / _BRANCHES_OF_LAYER["encoder"]
        both = all(layers.values())  # or one stack alone, whatever its name
        if self.rule == "t_fixup" and facts.kind == "embedding":
            return float((9 * (layers["decoder"] if both else depth)) ** -0.25)
        if not both:
            return float((8 * depth) ** -0.25 if self.rule == "deepnet" else 0.67 * depth**-0.25)
        encoder, decoder = layers["encoder"], layers["decoder"]
        if self.rule == "deepnet":
            if facts.stack == "decoder":
                return float((12 * decoder) ** -0.25)
            return float(0.87 * (encoder**4 * decoder) ** -0.0625)
        if facts.stack == "decoder":
            return float((9 * decoder) ** -0.25)
        return float(0.67 * encoder**-0.25)

    def _draw_(
        self, out: Tensor, fan_in: float, fan_out: float, generator: torch.Generator | None
    ) -> None:
        law = self.drawn_from(fan_in, fan_out)
        if law is not None:
            law.draw_(out, generator)
            return
        self.base._draw_(out, fan_in, fan_out, generator)
        out.mul_(self._multiplier)

    @property
    def _multiplier(self) -> float:
        return 1.0 if self.factor is None else self.factor

    def moments(self, fan_in: float, fan_out: float) -> tuple[float, float] | None:
        """Those of the base, times the factor."""
        found: tuple[float, float] | None = self.base.moments(fan_in, fan_out)
        if found is None:
            return None
        return found[0] * self._multiplier, found[1] * self._multiplier

    def drawn_from(self, fan_in: float, fan_out: float) -> Distribution | None:
        """The base's distribution, scaled."""
        law: Distribution | None = self.base.drawn_from(fan_in, fan_out)
        return None if law is None else law.scaled(self._multiplier)
