"""Plans with a name: several rules that belong together, over He's normal."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

# A head that is an embedding's weight as well stays one: at zero it would be dead.
_HEADS = ("linear", "conv1d", "conv2d", "conv3d")
_ALL: dict[str, Any] = {"weight": "he_normal", "bias": "zeros"}

#: Each as `InitPlan.from_spec` reads it. All of them need a model with residual branches: for
#: another the rules on branches warn that they decide nothing.
PLANS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        # Zhang, Dauphin and Ma 2019 (Fixup), section 3: the last layer of each branch and the head
        # zero, inner layers scaled by depth, the rest He's. Its scalar multipliers and biases are
        # parameters that a model has or has not.
        "fixup": {
            "rules": [
                {"where": {"branch": "last"}, "weight": "zeros"},
                {"where": {"branch": "inner"}, "weight": "fixup_scaled"},
                {"where": {"role": "head", "kind": list(_HEADS)}, "weight": "zeros"},
                _ALL,
            ]
        },
        # Goyal et al. 2017, section 5.1: the gain of the norm after each branch's last layer zero.
        "zero_gamma": {
            "rules": [{"where": {"branch": "last_norm"}, "weight": "zeros"}, _ALL],
        },
        # The last weight layer of each branch zero, so that each block begins as the identity.
        "zero_last": {
            "rules": [{"where": {"branch": "last"}, "weight": "zeros"}, _ALL],
        },
    }
)


def list_plans() -> list[str]:
    """The names of plans that `InitPlan.from_spec` knows besides those of initializers."""
    return sorted(PLANS)
