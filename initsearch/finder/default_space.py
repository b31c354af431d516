"""The space that is searched when the user gives none: schemes that suit the activations of the model."""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

from initsearch.errors import ConfigError
from initsearch.initializers import list_activations
from initsearch.layers import Slot

#: So many activations have a group of their own: those with the most weights before them.
MOST_GROUPS = 2
#: He's scaling was derived for these.
RECTIFIERS = {"relu", "relu6", "leaky_relu", "rrelu", "prelu"}
#: Glorot's and LeCun's were derived for these.
SATURATING = {"tanh", "sigmoid", "softsign", "hardtanh", "hardsigmoid"}


def default_space(slots: Sequence[Slot]) -> dict[str, Any]:
    """A group for each activation of the model, with schemes that suit it; the head and the rest keep theirs.

    Args:
        slots: The parameters of the model.

    Raises:
        ConfigError: The model has no weight that an activation follows.
    """
    weights: Counter[str] = Counter()
    for slot in slots:
        if slot.category == "weight" and slot.requires_grad and slot.role != "head":
            weights[slot.activation or ""] += prod(slot.shape)
    known = [name for name, _ in weights.most_common() if name in list_activations()]
    groups = {name: _group(name) for name in known[:MOST_GROUPS] if name not in ("none", "linear")}
    if not groups:
        raise ConfigError(
            "space must be given for a model in which no weight is followed by a known activation: try "
            "space={'groups': {'all': {'weight': ['glorot_uniform', 'he_normal', 'orthogonal']}}}"
        )
    return {"groups": groups}


def _group(activation: str) -> Mapping[str, Any]:
    return {"where": {"activation": activation}, "weight": _schemes(activation)}


def _schemes(activation: str) -> dict[str, Any]:
    if activation in RECTIFIERS:
        own: dict[str, Any] = {"he_normal": None, "he_uniform": None}
    elif activation in SATURATING:
        own = {"glorot_normal": None, "lecun_normal": None}
    elif activation == "selu":
        own = {"lecun_normal": None, "lecun_uniform": None}
    elif activation == "sin":
        own = {"siren": None}
    else:  # the scale that keeps the second moment, by quadrature
        own = {"activation_scaling": {"activation": activation}, "he_normal": None}
    return own | {"glorot_uniform": None, "orthogonal": None}
