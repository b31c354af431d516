"""What a candidate's run is labelled with, and any text as MLflow accepts it."""

import json
import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from initsearch.errors import visible
from initsearch.initializers import get_initializer, list_initializers
from initsearch.plan import Where
from initsearch.search.tracker import Candidate, StudyInfo
from initsearch.space import Group

# MLflow's own bounds (mlflow.utils.validation); it refuses longer keys and warns about longer
# values.
_KEY_LENGTH = 250
_PARAM_LENGTH = 6000
TAG_LENGTH = 8000

#: What of an initializer is a label, besides its name.
_FIELDS = ("mode", "distribution", "factor")
#: The part of a plan that has no condition.
_REST = "rest"


class CandidateLabels:
    """The labels of a study's candidates: the same keys as params and as tags.

    A plan has parts: the rule of each group of the space, and what its other rules set. The main part is
    that of the first group that varies, else what holds for all the rest of the model. Its mode,
    distribution and factor go by these names, so that `params.mode = 'fan_in'` finds the candidates that
    tried it; those of the other parts have the part's name before them (`head.mode`).

    Args:
        study: Its settings have the space.
    """

    def __init__(self, study: StudyInfo) -> None:
        self._study = study
        space = study.settings.get("space") or {}
        groups = space.get("groups") if isinstance(space, Mapping) else None
        self._groups = [Group.from_spec(name, spec) for name, spec in (groups or {}).items()]

    def of(self, candidate: Candidate) -> dict[str, str]:
        """The labels of one candidate.

        Returns:
            `architecture`, `dataset`, `scheme`, `mode`, `distribution` and `factor` (empty where the main
            part's initializer has none), `activation`, `lr` (empty if the task takes none), the other parts'
            `<part>.scheme`, `<part>.mode`, ..., and every sampled parameter under its own name.
        """
        main, *others = self._parts(candidate.plan)
        labels = {
            "architecture": self._study.architecture,
            "dataset": self._study.dataset,
            "scheme": candidate.scheme,
            **dict.fromkeys(_FIELDS, ""),
            **main.fields,
            "activation": self._activation(candidate.plan),
            "lr": "" if candidate.lr is None else f"{candidate.lr:g}",
        }
        for part in others:
            named = {"scheme": part.scheme, **part.fields}
            labels |= {f"{part.name}.{key}": value for key, value in named.items()}
        return flatten(candidate.params) | labels

    def _parts(self, plan: Mapping[str, Any]) -> "list[_Part]":
        """The parts of a plan that initialize weights, the main one first."""
        if "name" in plan:  # an initializer in place of a plan
            return [_Part.of(_REST, plan)]
        default = plan.get("default")
        rules = [
            (self._name(rule.get("where") or {}), rule.get("weight"))
            for rule in plan.get("rules", ())
        ]
        rules.append((_REST, default.get("weight") if isinstance(default, Mapping) else default))
        parts: dict[str, _Part] = {}
        for name, weight in rules:
            if weight not in (None, "keep"):
                parts.setdefault(name, _Part.of(name, weight))  # the first rule wins
        varying = [group.name for group in self._groups if group.size > 1]
        ranked = [*varying, _REST]
        main = next((name for name in ranked if name in parts), next(iter(parts), None))
        if main is None:
            return [_Part(_REST, "", {})]
        return [parts.pop(main), *parts.values()]

    def _name(self, where: Mapping[str, Any]) -> str:
        """The name of the group with a rule's condition, or else the condition's values."""
        conditions = Where.from_spec(where).spec()
        for group in self._groups:
            if Where.from_spec(group.where).spec() == conditions:
                return group.name
        values = (v if isinstance(v, list) else [v] for v in conditions.values())
        return "-".join("+".join(names) for names in values) or _REST

    def _activation(self, plan: Mapping[str, Any]) -> str:
        """The activations that the rules name, or else the model's."""
        named: set[str] = set()
        for rule in plan.get("rules", ()):
            given = (rule.get("where") or {}).get("activation", ())
            named |= {given} if isinstance(given, str) else set(given)
        model = self._study.settings.get("model")
        if not named and isinstance(model, Mapping) and model.get("activation"):
            named = {str(model["activation"])}
        return "+".join(sorted(named))


@dataclass(frozen=True)
class _Part:
    """A part of a plan: its name, the scheme of its weights, the scheme's labelled fields."""

    name: str
    scheme: str
    fields: Mapping[str, str]

    @classmethod
    def of(cls, name: str, weight: Any) -> "_Part":
        given = weight if isinstance(weight, Mapping) else {"name": weight}
        scheme = str(given.get("name"))
        # Only what the registry knows: a user's own function need not be imported to be named.
        known = get_initializer(weight) if scheme in list_initializers() else None
        return cls(name, scheme, dict(_labelled(given, known)))


def _labelled(given: Mapping[str, Any], initializer: object) -> Iterator[tuple[str, str]]:
    for field in _FIELDS:
        value = given.get(field, getattr(initializer, field, None))
        if value is not None and not callable(value):
            yield field, f"{value:g}" if isinstance(value, float) else str(value)


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
    """`value` without control characters, cut where MLflow's params end."""
    return _cut(visible(value, keep="\n"), _PARAM_LENGTH)


def tag_value(value: str) -> str:
    """`value` without control characters, cut where MLflow's tags end."""
    return _cut(visible(value, keep="\n"), TAG_LENGTH)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
