"""A group: parameters that are initialized alike, by a rule whose initializer varies."""

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import optuna

from initsearch.checks import check_keys, check_mapping, check_name, is_list
from initsearch.errors import ConfigError, quoted
from initsearch.initializers import get_initializer
from initsearch.plan import InitPlan, Where
from initsearch.space.domain import Domain

#: A scheme that is no initializer: the parameter stays as the framework made it.
KEEP = "keep"


@dataclass(frozen=True)
class Group:
    """Parameters that are initialized alike: a rule whose initializer varies.

    Attributes:
        name: The prefix of its Optuna parameters (`relu.scheme`).
        where: The rule's conditions.
        schemes: The tunables of each scheme, by the scheme's name; they exist only if that scheme is chosen.
        bias: The choices for the bias.
    """

    name: str
    where: Mapping[str, Any]
    schemes: Mapping[str, Mapping[str, Domain]]
    bias: Domain

    @classmethod
    def from_spec(cls, name: str, spec: Any) -> "Group":
        """Read a group: `where`, `weight` (a name, a list of names, or tunables by scheme) and `bias`.

        Raises:
            ConfigError: An unknown key, scheme, field or value.
        """
        check_name("the name of a space group", name)
        check_mapping(
            f"space group {name!r}", spec, "{where: {activation: relu}, weight: [he_normal]}"
        )
        check_keys(f"key in space group {name}", spec, ("where", "weight", "bias"))
        where = spec.get("where")
        Where.from_spec(where, f"where of space group {name!r}")
        group = cls(
            name=name,
            where={} if where is None else where,
            schemes=_read_schemes(name, spec.get("weight")),
            bias=Domain.from_spec(f"{name}.bias", spec.get("bias", "zeros")),
        )
        group._check_values()
        return group

    def suggest(self, trial: optuna.trial.BaseTrial) -> tuple[dict[str, Any], str]:
        """The rule that a trial chooses, as a mapping, and the name of its scheme."""
        scheme = Domain(choices=tuple(self.schemes)).suggest(trial, f"{self.name}.scheme")
        fields = {
            field: domain.suggest(trial, f"{self.name}.{scheme}.{field}")
            for field, domain in self.schemes[scheme].items()
        }
        bias = self.bias.suggest(trial, f"{self.name}.bias")
        weight: Any = {"name": scheme, **fields} if fields else scheme
        return {"where": dict(self.where), "weight": weight, "bias": bias}, scheme

    @property
    def size(self) -> float:
        """The number of different rules; infinite if a range of real numbers is searched."""
        return sum(math.prod(domain.size for domain in named.values()) for named in self.domains())

    def domains(self) -> Iterator[dict[str, Domain]]:
        """For each scheme, the Optuna parameters that exist with it."""
        for scheme, fields in self.schemes.items():
            named = (
                {f"{self.name}.scheme": Domain(choices=(scheme,))} if len(self.schemes) > 1 else {}
            )
            named |= {f"{self.name}.{scheme}.{field}": domain for field, domain in fields.items()}
            yield named | {f"{self.name}.bias": self.bias}

    def _check_values(self) -> None:
        """Build every initializer at the corners of the group: a bad value is an error before any training."""
        for scheme, fields in self.schemes.items():
            for values in itertools.product(*(domain.examples() for domain in fields.values())):
                if scheme != KEEP:
                    get_initializer({"name": scheme, **dict(zip(fields, values, strict=True))})
        for bias in self.bias.examples():
            rule = {"where": dict(self.where), "weight": KEEP, "bias": bias}
            InitPlan.from_spec({"rules": [rule]})


def _read_schemes(group: str, spec: Any) -> dict[str, dict[str, Domain]]:
    if isinstance(spec, str):
        spec = [spec]
    pairs = [(name, None) for name in spec] if is_list(spec) else spec
    if isinstance(pairs, Mapping):
        pairs = list(pairs.items())
    if not isinstance(pairs, list) or not pairs:
        raise ConfigError(
            f"space group {group!r} must have at least one scheme under weight, but got {quoted(spec)}: write "
            "for instance weight: [he_normal, orthogonal]"
        )
    schemes: dict[str, dict[str, Domain]] = {}
    for scheme, fields in pairs:
        if not isinstance(scheme, str):
            raise ConfigError(
                f"space group {group!r}: a scheme must be the name of an initializer, but got "
                f"{quoted(scheme)}: write for instance weight: [he_normal, orthogonal]"
            )
        fields = {} if fields is None else fields
        title = f"space group {group!r}: scheme {quoted(scheme)}"
        check_mapping(title, fields, f"{scheme}: {{gain: [1.0, 2.0]}}")
        if scheme == KEEP and fields:
            raise ConfigError(
                f"{title} has no tunables, but got {quoted(dict(fields))}: remove them"
            )
        for field in fields:
            check_name(f"{title}: a tunable", field)
        schemes[scheme] = {
            field: Domain.from_spec(f"{group}.{scheme}.{field}", value)
            for field, value in fields.items()
        }
    return schemes
