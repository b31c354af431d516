"""Named plans: several rules that belong together, based on He's normal."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

# Kinds of heads that may start at zero. Not an embedding's weight that is also the head: it would be dead.
_HEADS = ("linear", "conv1d", "conv2d", "conv3d")
_ALL: dict[str, Any] = {"weight": "he_normal", "bias": "zeros"}

#: Each in the form that `InitPlan.from_spec` reads. All are for models with residual branches: in other
#: models the rules on branches warn that they match nothing.
PLANS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        # Zhang, Dauphin and Ma 2019 (Fixup), section 3: the last layer of each branch and the head zero, inner
        # layers scaled by depth, all others He's. Its scalar multipliers and biases are parts of the model.
        "fixup": {
            "rules": [
                {"where": {"branch": "last"}, "weight": "zeros"},
                {"where": {"branch": "inner"}, "weight": "fixup_scaled"},
                {"where": {"role": "head", "kind": list(_HEADS)}, "weight": "zeros"},
                _ALL,
            ]
        },
        # Goyal et al. 2017, section 5.1: the gain of the norm after each branch's last layer is zero.
        "zero_gamma": {
            "rules": [{"where": {"branch": "last_norm"}, "weight": "zeros"}, _ALL],
        },
        # The last weight layer of each branch is zero: each block begins as the identity.
        "zero_last": {
            "rules": [{"where": {"branch": "last"}, "weight": "zeros"}, _ALL],
        },
    }
)


def list_plans() -> list[str]:
    """The named plans that `InitPlan.from_spec` knows, besides the names of initializers."""
    return sorted(PLANS)
