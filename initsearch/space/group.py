"""A group: parameters that are initialized alike, by a rule whose initializer varies."""

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import optuna

from initsearch.checks import check_keys, check_mapping, check_name, is_list
from initsearch.errors import ConfigError, quoted
from initsearch.initializers import get_initializer
from initsearch.plan import InitPlan, Where
from initsearch.space.domain import Domain

#: A scheme that is no initializer: the parameter stays as the framework made it.
KEEP = "keep"
_EXAMPLES = {"weight": "[he_normal, orthogonal]", "bias": "[zeros, keep]"}


@dataclass(frozen=True)
class Group:
    """Parameters that are initialized alike: a rule whose initializer varies.

    Attributes:
        name: The prefix of its Optuna parameters (`relu.scheme`).
        where: The rule's conditions.
        schemes: The tunables of each scheme, by the scheme's name; they exist only if that scheme is chosen.
        bias: The schemes of the bias.
        bias_fields: The tunables of each of them, by the scheme's name, as for the weight. Those without
            tunables need not be in it.
    """

    name: str
    where: Mapping[str, Any]
    schemes: Mapping[str, Mapping[str, Domain]]
    bias: Domain
    bias_fields: Mapping[str, Mapping[str, Domain]] = field(default_factory=dict, repr=False)

    @classmethod
    def from_spec(cls, name: str, spec: Any) -> "Group":
        """Read a group: `where`, and `weight` and `bias` (each a name, a list of names, or tunables by scheme).

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
        bias, fields = spec.get("bias", "zeros"), {}
        if isinstance(bias, Mapping):
            fields = _read_schemes(name, bias, "bias")
            bias = list(fields)
        group = cls(
            name=name,
            where={} if where is None else where,
            schemes=_read_schemes(name, spec.get("weight"), "weight"),
            bias=Domain.from_spec(f"{name}.bias", bias),
            bias_fields={scheme: named for scheme, named in fields.items() if named},
        )
        group._check_values()
        return group

    def suggest(self, trial: optuna.trial.BaseTrial) -> tuple[dict[str, Any], str]:
        """The rule that a trial chooses, as a mapping, and the name of its scheme."""
        scheme = Domain(choices=tuple(self.schemes)).suggest(trial, f"{self.name}.scheme")
        weight = _suggested(trial, scheme, f"{self.name}.{scheme}", self.schemes[scheme])
        of_bias = self.bias.suggest(trial, f"{self.name}.bias")
        fields = self.bias_fields.get(of_bias, {})
        bias = _suggested(trial, of_bias, f"{self.name}.bias.{of_bias}", fields)
        return {"where": dict(self.where), "weight": weight, "bias": bias}, scheme

    @property
    def bias_varies(self) -> bool:
        """Whether trials differ in the bias."""
        fields = (domain for named in self.bias_fields.values() for domain in named.values())
        return not self.bias.fixed or any(not domain.fixed for domain in fields)

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
            for bias in self._bias_domains():
                yield named | bias

    def _bias_domains(self) -> Iterator[dict[str, Domain]]:
        """The Optuna parameters of the bias: for each scheme its own, if any of them has tunables."""
        name = f"{self.name}.bias"
        if not self.bias_fields:
            yield {name: self.bias}
            return
        for scheme in self.bias.choices:
            fields = self.bias_fields.get(str(scheme), {})
            yield {name: Domain(choices=(scheme,))} | {
                f"{name}.{scheme}.{field}": domain for field, domain in fields.items()
            }

    def _check_values(self) -> None:
        """Build every initializer at the corners of the group: a bad value is an error before any training."""
        for scheme, fields in self.schemes.items():
            for values in itertools.product(*(domain.examples() for domain in fields.values())):
                if scheme != KEEP:
                    get_initializer({"name": scheme, **dict(zip(fields, values, strict=True))})
        for bias in self.bias.examples():
            fields = self.bias_fields.get(str(bias), {})
            for values in itertools.product(*(domain.examples() for domain in fields.values())):
                given = dict(zip(fields, values, strict=True))
                choice = {"name": bias, **given} if given else bias
                rule = {"where": dict(self.where), "weight": KEEP, "bias": choice}
                InitPlan.from_spec({"rules": [rule]})


def _suggested(
    trial: optuna.trial.BaseTrial, scheme: Any, name: str, fields: Mapping[str, Domain]
) -> Any:
    """A scheme with the values that a trial chooses for its tunables, in the form of a plan file."""
    values = {field: domain.suggest(trial, f"{name}.{field}") for field, domain in fields.items()}
    return {"name": scheme, **values} if values else scheme


def _read_schemes(group: str, spec: Any, part: str) -> dict[str, dict[str, Domain]]:
    """The schemes of a group's `weight` or `bias`, each with its tunables."""
    if isinstance(spec, str):
        spec = [spec]
    pairs = [(name, None) for name in spec] if is_list(spec) else spec
    if isinstance(pairs, Mapping):
        pairs = list(pairs.items())
    if not isinstance(pairs, list) or not pairs:
        raise ConfigError(
            f"space group {group!r} must have at least one scheme under {part}, but got {quoted(spec)}: write "
            f"for instance {part}: {_EXAMPLES[part]}"
        )
    schemes: dict[str, dict[str, Domain]] = {}
    prefix = group if part == "weight" else f"{group}.{part}"
    for scheme, fields in pairs:
        if not isinstance(scheme, str):
            raise ConfigError(
                f"space group {group!r}: a scheme must be the name of an initializer, but got "
                f"{quoted(scheme)}: write for instance {part}: {_EXAMPLES[part]}"
            )
        fields = {} if fields is None else fields
        title = f"space group {group!r}: scheme {quoted(scheme)}"
        check_mapping(title, fields, f"{scheme}: {{gain: [1.0, 2.0]}}")
        if scheme == KEEP and fields:
            raise ConfigError(
                f"{title} has no tunables, but got {quoted(dict(fields))}: remove them"
            )
        for tunable in fields:
            check_name(f"{title}: a tunable", tunable)
        schemes[scheme] = {
            field: Domain.from_spec(f"{prefix}.{scheme}.{field}", value)
            for field, value in fields.items()
        }
    return schemes
