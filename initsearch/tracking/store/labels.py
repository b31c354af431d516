"""What a run is labelled with: params and tags, drawn from plans and settings."""

import json
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from initsearch.errors import ConfigError
from initsearch.initializers import get_initializer
from initsearch.search.tracker import CandidateInfo, StudyInfo

# MLflow's own bounds (mlflow.utils.validation); it refuses longer keys and warns about longer
# values.
_KEY_LENGTH = 250
_PARAM_LENGTH = 6000
TAG_LENGTH = 8000


def candidate_labels(study: StudyInfo, candidate: CandidateInfo) -> dict[str, str]:
    """What each candidate's run carries as params and as tags alike.

    Returns:
        `architecture`, `dataset`, `scheme`, `mode`, `distribution`, `activation`, `lr`, and every
        sampled parameter under its own name. `mode` and `distribution` hold all values that the
        plan uses, joined by `+`; empty where its initializers have none.
    """
    weights = list(_weights(candidate.plan))
    activations = _sorted_unique(
        rule["where"]["activation"]
        for rule in candidate.plan.get("rules", ())
        if "activation" in rule.get("where", {})
    )
    model = study.settings.get("model")
    if not activations and isinstance(model, Mapping) and model.get("activation"):
        activations = [str(model["activation"])]
    own = {
        "architecture": study.architecture,
        "dataset": study.dataset,
        "scheme": candidate.scheme,
        "mode": "+".join(_sorted_unique(_attribute(weight, "mode") for weight in weights)),
        "distribution": "+".join(
            _sorted_unique(_attribute(weight, "distribution") for weight in weights)
        ),
        "activation": "+".join(activations),
        "lr": f"{candidate.lr:g}",
    }
    sampled = {name: value for name, value in flatten(candidate.params).items() if name not in own}
    return {**own, **sampled}


def flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested settings as one level of strings: dotted keys, JSON for what is not a string.

    >>> flatten({"model": {"name": "mlp", "width": [8, 8]}, "root": None})
    {'model.name': 'mlp', 'model.width': '[8, 8]', 'root': 'null'}
    """
    flat: dict[str, str] = {}
    for key, value in settings.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, prefix=f"{name}.")
        else:
            flat[name] = value if isinstance(value, str) else json.dumps(value, default=str)
    return flat


def valid_key(key: str) -> str:
    """`key` as MLflow accepts it for a param, tag or metric: other characters become `_`."""
    clean = re.sub(r"[^\w.\- /]", "_", key)[:_KEY_LENGTH].strip()
    if not clean or posixpath.normpath(clean) != clean or clean.startswith(("/", "..")):
        clean = re.sub(r"[/.]", "_", clean) or "_"
    return clean


def param_value(value: str) -> str:
    """`value`, cut where MLflow's params end."""
    return _cut(value, _PARAM_LENGTH)


def tag_value(value: str) -> str:
    """`value`, cut where MLflow's tags end."""
    return _cut(value, TAG_LENGTH)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _weights(plan: Mapping[str, Any]) -> Iterator[Any]:
    """The weight initializers that a plan's specification names, in its order."""
    if "name" in plan:  # an initializer in place of a plan
        yield plan
    for rule in plan.get("rules", ()):
        yield rule.get("weight")
    default = plan.get("default", plan)
    if isinstance(default, Mapping):
        yield default.get("weight")


def _attribute(weight: Any, name: str) -> str | None:
    """A field of an initializer (its mode, its distribution); None where it has none."""
    if isinstance(weight, Mapping) and name in weight:
        return str(weight[name])
    if weight in (None, "keep"):
        return None
    try:
        value = getattr(get_initializer(weight), name, None)
    except ConfigError:  # a word of the plan's own, such as `keep`: no initializer, no mode
        return None
    return None if value is None or callable(value) else str(value)


def _sorted_unique(values: Sequence[str | None] | Iterator[str | None] | Any) -> list[str]:
    return sorted({str(value) for value in values if value})
