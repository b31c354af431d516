"""`Space`: groups of parameters with the schemes each may take, or a list of whole plans."""

import itertools
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import yaml

from initsearch.digests import short_hash
from initsearch.errors import ConfigError, unknown_name
from initsearch.initializers import get_initializer
from initsearch.layers import Slot
from initsearch.plan import InitPlan, Where
from initsearch.space.domain import Domain

#: A group's scheme that is no initializer: leave the parameter as the framework made it.
KEEP = "keep"


@dataclass(frozen=True)
class Suggestion:
    """What a trial proposes.

    Attributes:
        plan: The plan.
        scheme: The scheme family, without the tunables' values (`he_normal`, `relu:zeros head:normal`).
        label: A readable name with the tunables' values.
        lr: The learning rate, where the space has one.
    """

    plan: InitPlan
    scheme: str
    label: str
    lr: float | None = None


@dataclass(frozen=True)
class Group:
    """Parameters that are initialized alike: a rule whose initializer varies.

    Attributes:
        name: Stands before each Optuna parameter (`relu.scheme`).
        where: The rule's conditions.
        schemes: By scheme name its tunables; a tunable exists only where its scheme is chosen.
        bias: What the bias may be.
    """

    name: str
    where: Mapping[str, Any]
    schemes: Mapping[str, Mapping[str, Domain]]
    bias: Domain

    @classmethod
    def from_spec(cls, name: str, spec: Any) -> "Group":
        """Read a group: `where`, `weight` (a name, a list of names, or scheme -> tunables) and `bias`."""
        if not isinstance(spec, Mapping):
            raise ConfigError(
                f"space group {name!r} must be a mapping with where and weight, but got {spec!r}"
            )
        for key in spec:
            if key not in ("where", "weight", "bias"):
                raise unknown_name(f"key in space group {name}", key, ("where", "weight", "bias"))
        where = spec.get("where") or {}
        Where.from_spec(where, f"where of space group {name!r}")
        schemes = _read_schemes(name, spec.get("weight"))
        return cls(
            name,
            where,
            schemes,
            Domain.from_spec(f"{name}.bias", spec.get("bias", "zeros")),
        )

    def suggest(self, trial: optuna.trial.BaseTrial) -> tuple[dict[str, Any], str]:
        """The rule that a trial chooses, as a mapping, and its scheme's name."""
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
        """How many different rules there are: infinite where a range of real numbers is searched."""
        return sum(math.prod(domain.size for domain in named.values()) for named in self.domains())

    def domains(self) -> Iterator[dict[str, Domain]]:
        """For each scheme, the Optuna parameters that exist with it."""
        for scheme, fields in self.schemes.items():
            named = (
                {f"{self.name}.scheme": Domain(choices=(scheme,))} if len(self.schemes) > 1 else {}
            )
            named |= {f"{self.name}.{scheme}.{field}": domain for field, domain in fields.items()}
            yield named | {f"{self.name}.bias": self.bias}


@dataclass(frozen=True)
class Space:
    """What a search may choose.

    Attributes:
        groups: One rule each, in order.
        plans: Whole plans by name; a space has either groups or plans.
        default: The plan's default, for parameters of no group.
        lr: The learning rate as a nuisance parameter, so that each scheme is judged at a rate that suits it.
    """

    groups: tuple[Group, ...] = ()
    plans: Mapping[str, InitPlan] | None = None
    default: Mapping[str, Any] | None = None
    lr: Domain | None = None

    @classmethod
    def from_spec(cls, spec: "Space | Mapping[str, Any] | str | os.PathLike[str]") -> "Space":
        """Make a space of a mapping, or of a path to a YAML file of one.

        Raises:
            ConfigError: The space is empty, has an unknown key, scheme, field or value.
        """
        if isinstance(spec, Space):
            return spec
        if isinstance(spec, str | os.PathLike):
            spec = _load(Path(spec))
        if not isinstance(spec, Mapping):
            raise ConfigError(
                f"a space must be a mapping with groups or plans, but got {spec!r}: choose a sweep of "
                "conf/sweep, or see there how one is written"
            )
        known = ("groups", "plans", "default", "lr")
        for key in spec:
            if key not in known:
                raise unknown_name("key in space", key, known)
        groups, plans = spec.get("groups") or {}, spec.get("plans") or {}
        for key, named in (("groups", groups), ("plans", plans)):
            if not isinstance(named, Mapping):
                raise ConfigError(f"space.{key} must be a mapping by name, but got {named!r}")
        if bool(groups) == bool(plans):
            what = "both" if groups else "neither"
            raise ConfigError(
                f"a space must have either groups or plans, but got {what}: add one of them"
            )
        lr = spec.get("lr")
        space = cls(
            groups=tuple(Group.from_spec(name, group) for name, group in groups.items()),
            plans={name: _named_plan(name, plan) for name, plan in plans.items()} or None,
            default=spec.get("default"),
            lr=None if lr is None else _read_rate(lr),
        )
        space._check()
        return space

    def suggest(self, trial: optuna.trial.BaseTrial) -> Suggestion:
        """Ask a trial for a plan, and for a learning rate where the space has one."""
        if self.plans is not None:
            name = Domain(choices=tuple(self.plans)).suggest(trial, "plan")
            plan, scheme, label = self.plans[name], name, name
        else:
            plan, scheme, label = self._suggest_groups(trial)
        lr = None if self.lr is None else float(self.lr.suggest(trial, "lr"))
        return Suggestion(plan, scheme, label, lr)

    def _suggest_groups(self, trial: optuna.trial.BaseTrial) -> tuple[InitPlan, str, str]:
        chosen = [group.suggest(trial) for group in self.groups]
        rules = [rule for rule, _ in chosen]
        plan = InitPlan.from_spec({"rules": rules, "default": self.default or {}})
        labels = [
            KEEP if r["weight"] == KEEP else get_initializer(r["weight"]).label() for r in rules
        ]
        for index, (group, rule) in enumerate(zip(self.groups, rules, strict=True)):
            if not group.bias.fixed:
                labels[index] += f"+bias={rule['bias']}"
        # A group that cannot vary is the same in all candidates: naming it would tell nothing.
        free = [index for index, group in enumerate(self.groups) if group.size > 1] or [0]
        if len(free) == 1:
            return plan, chosen[free[0]][1], labels[free[0]]
        names = [group.name for group in self.groups]
        return (
            plan,
            " ".join(f"{names[index]}:{chosen[index][1]}" for index in free),
            " ".join(f"{names[index]}:{labels[index]}" for index in free),
        )

    @property
    def size(self) -> float:
        """How many different trials there are: infinite where a range of real numbers is searched."""
        rates = 1 if self.lr is None else self.lr.size
        if self.plans is not None:
            return len(self.plans) * rates
        return math.prod(group.size for group in self.groups) * rates

    def grid(self) -> Iterator[dict[str, Any]]:
        """Every trial of a finite space, as Optuna parameters; those that are fixed are left out."""
        if self.plans is not None:
            parts = (
                [[{"plan": Domain(choices=(name,))} for name in self.plans]]
                if len(self.plans) > 1
                else []
            )
        else:
            parts = [list(group.domains()) for group in self.groups]
        if self.lr is not None:
            parts.append([{"lr": self.lr}])
        for combination in itertools.product(*parts):
            named = {name: domain for part in combination for name, domain in part.items()}
            free = {
                n: d
                for n, d in named.items()
                if not d.fixed or n == "plan" or n.endswith(".scheme")
            }
            for values in itertools.product(*(domain.values() for domain in free.values())):
                yield dict(zip(free, values, strict=True))

    def without_effect(self, slots: Sequence[Slot]) -> list[dict[str, Any]]:
        """The conditions of groups and rules that hold for no parameter of a model."""
        wheres = [Where.from_spec(group.where) for group in self.groups]
        wheres += [rule.where for plan in (self.plans or {}).values() for rule in plan.rules]
        named = [name for slot in slots for name in (slot, *slot.aliases)]
        idle = [where for where in wheres if not any(where.holds(slot) for slot in named)]
        return [where.spec() for where in dict.fromkeys(idle)]

    def key(self) -> str:
        """A short hash of all that the space allows: another space is another study."""
        return short_hash(self._canonical())

    def _canonical(self) -> dict[str, Any]:
        plans = (
            None if self.plans is None else {name: plan.spec() for name, plan in self.plans.items()}
        )
        groups = [repr(group) for group in self.groups]
        return {"groups": groups, "plans": plans, "default": self.default, "lr": repr(self.lr)}

    def _check(self) -> None:
        """Build the plans at the corners of the space, so that a bad value is told before any training."""
        for group in self.groups:
            for scheme, fields in group.schemes.items():
                for values in itertools.product(*(domain.examples() for domain in fields.values())):
                    if scheme != KEEP:
                        get_initializer({"name": scheme, **dict(zip(fields, values, strict=True))})
            for bias in group.bias.examples():
                rule = {"where": dict(group.where), "weight": KEEP, "bias": bias}
                InitPlan.from_spec({"rules": [rule], "default": self.default or {}})


def suggest_plan(
    trial: optuna.trial.BaseTrial, space: Space | Mapping[str, Any] | str | os.PathLike[str]
) -> InitPlan:
    """A plan from a space, inside anybody's own Optuna objective.

    Args:
        trial: The trial that is asked.
        space: A space, a mapping of one, or a path to a YAML file. Its parameters appear in the study as
            `<group>.scheme`, `<group>.<scheme>.<field>`, `<group>.bias`, `plan` and `lr`; a learning rate
            is read back as `trial.params["lr"]`.

    Raises:
        ConfigError: The space is empty or has an unknown key, scheme, field or value.
    """
    return Space.from_spec(space).suggest(trial).plan


def _read_schemes(group: str, spec: Any) -> dict[str, dict[str, Domain]]:
    if isinstance(spec, str):
        spec = [spec]
    if isinstance(spec, Sequence):
        spec = dict.fromkeys(spec)
    if not isinstance(spec, Mapping) or not spec:
        raise ConfigError(
            f"space group {group!r} must have at least one scheme under weight, but got {spec!r}"
        )
    schemes = {}
    for scheme, fields in spec.items():
        if not isinstance(scheme, str) or not isinstance(fields or {}, Mapping):
            raise ConfigError(
                f"space group {group!r}: a scheme must be a name with a mapping of tunables, "
                f"but got {scheme!r}: {fields!r}"
            )
        schemes[scheme] = {
            field: Domain.from_spec(f"{group}.{scheme}.{field}", value)
            for field, value in (fields or {}).items()
        }
    return schemes


def _read_rate(spec: Any) -> Domain:
    domain = Domain.from_spec("space.lr", spec)
    for value in domain.examples():
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            raise ConfigError(f"space.lr must hold positive numbers, but got {value!r}")
    return domain


def _named_plan(name: str, spec: Any) -> InitPlan:
    try:
        return InitPlan.from_spec(spec)
    except ConfigError as error:
        raise ConfigError(f"space plan {name!r}: {error}") from error


def _load(path: Path) -> Mapping[str, Any]:
    try:
        spec = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"space file {str(path)!r} cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ConfigError(
            f"space file {str(path)!r} is not YAML: {' '.join(str(error).split())}"
        ) from error
    if not isinstance(spec, Mapping):
        raise ConfigError(f"space file {str(path)!r} must hold a mapping, but holds {spec!r}")
    return spec.get("space", spec)  # type: ignore[no-any-return]
