"""`Space`: groups of parameters with the schemes that each may take, or a list of whole plans."""

import itertools
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import optuna

from initsearch.checks import check_keys, check_mapping, check_name, check_number
from initsearch.digests import short_hash
from initsearch.dotted import only_allowed
from initsearch.errors import ConfigError, quoted
from initsearch.initializers import get_initializer
from initsearch.layers import Slot
from initsearch.plan import InitPlan, Where
from initsearch.space.domain import Domain
from initsearch.space.group import KEEP, Group
from initsearch.yaml_file import read_yaml


@dataclass(frozen=True)
class Suggestion:
    """What a trial proposes.

    Attributes:
        plan: The plan.
        scheme: The scheme, without the values of its tunables (`he_normal`, `relu:zeros head:normal`).
        label: A readable name, with the values of the tunables.
        full_scheme: The same as `scheme` with the name of every group, also of those that cannot vary
            (`relu:he_normal head:zeros`): it differs from any plan's own name.
        full_label: `label` in the same way.
        lr: The learning rate, if the space has one.
    """

    plan: InitPlan
    scheme: str
    label: str
    full_scheme: str
    full_label: str
    lr: float | None = None


@dataclass(frozen=True)
class Space:
    """What a search may choose.

    Attributes:
        groups: One rule each, in order.
        plans: Whole plans by name; a space has either groups or plans.
        default: The plan's default, for parameters of no group.
        lr: The learning rate as a nuisance parameter: each scheme is compared at a rate that suits it.
    """

    groups: tuple[Group, ...] = ()
    plans: Mapping[str, InitPlan] | None = None
    default: Mapping[str, Any] | None = None
    lr: Domain | None = None

    @classmethod
    def from_spec(
        cls,
        spec: "Space | Mapping[str, Any] | str | os.PathLike[str]",
        allow_code: Sequence[str] = (),
    ) -> "Space":
        """Make a space from a mapping, or from the path to a YAML file with one.

        Args:
            spec: A mapping with `groups` or `plans`, and with `default` and `lr`; a path; or a space, which is
                returned unchanged.
            allow_code: For a space file, and for the plan files that a space names: the Python code that they
                may name by a dotted path. See `InitPlan.load`.

        Raises:
            ConfigError: The space is empty, or has an unknown key, scheme, field or value.
        """
        if isinstance(spec, Space):
            return spec
        if not isinstance(spec, str | os.PathLike):
            return cls._from_mapping(spec, allow_code)
        content = read_yaml("space file", spec)
        try:
            # A sweep's file has the space as one of its keys.
            content = content.get("space", content) if isinstance(content, Mapping) else content
            with only_allowed(allow_code):
                return cls._from_mapping(content, allow_code)
        except ConfigError as error:
            raise ConfigError(f"space file {quoted(os.fspath(spec))}: {error}") from error

    @classmethod
    def _from_mapping(cls, spec: object, allow_code: Sequence[str]) -> "Space":
        example = (
            "{groups: {all: {weight: [he_normal, orthogonal]}}}, or choose a sweep of conf/sweep"
        )
        given = check_mapping("a space", spec, example)
        check_keys("key in space", given, ("groups", "plans", "default", "lr"))
        groups, plans = (_named(key, given.get(key)) for key in ("groups", "plans"))
        if bool(groups) == bool(plans):
            what = "both" if groups else "neither"
            raise ConfigError(
                f"a space must have either groups or plans, but got {what}: keep one of them"
            )
        lr, default = given.get("lr"), given.get("default")
        # Checks the default; without one there is nothing to check.
        InitPlan.from_spec({"rules": [{"weight": KEEP}], "default": default})
        return cls(
            groups=tuple(Group.from_spec(name, group) for name, group in groups.items()),
            plans={name: _read_plan(name, plan, allow_code) for name, plan in plans.items()}
            or None,
            default=default,
            lr=None if lr is None else _read_rate(lr),
        )

    def suggest(self, trial: optuna.trial.BaseTrial) -> Suggestion:
        """Ask a trial for a plan, and for a learning rate if the space has one."""
        if self.plans is not None:
            name = Domain(choices=tuple(self.plans)).suggest(trial, "plan")
            full = f"plan:{name}"
            suggestion = Suggestion(self.plans[name], name, name, full, full)
        else:
            suggestion = self._suggest_groups(trial)
        lr = None if self.lr is None else float(self.lr.suggest(trial, "lr"))
        return replace(suggestion, lr=lr)

    def _suggest_groups(self, trial: optuna.trial.BaseTrial) -> Suggestion:
        chosen = [group.suggest(trial) for group in self.groups]
        rules = [rule for rule, _ in chosen]
        plan = InitPlan.from_spec({"rules": rules, "default": self.default or {}})
        labels = [
            KEEP if r["weight"] == KEEP else get_initializer(r["weight"]).label() for r in rules
        ]
        for index, (group, rule) in enumerate(zip(self.groups, rules, strict=True)):
            if group.bias_varies:
                bias = rule["bias"]
                named = get_initializer(bias).label() if isinstance(bias, Mapping) else bias
                labels[index] += f"+bias={named}"
        schemes = [scheme for _, scheme in chosen]
        # A group that cannot vary is the same in all candidates: only the full names have it.
        free = [index for index, group in enumerate(self.groups) if group.size > 1] or [0]
        every = range(len(self.groups))
        return Suggestion(
            plan,
            schemes[free[0]] if len(free) == 1 else self._joined(schemes, free),
            labels[free[0]] if len(free) == 1 else self._joined(labels, free),
            self._joined(schemes, every),
            self._joined(labels, every),
        )

    def _joined(self, texts: Sequence[str], indices: Sequence[int]) -> str:
        """Texts of some groups, each after its group's name."""
        return " ".join(f"{self.groups[index].name}:{texts[index]}" for index in indices)

    @property
    def size(self) -> float:
        """The number of different trials; infinite if a range of real numbers is searched."""
        rates = 1 if self.lr is None else self.lr.size
        if self.plans is not None:
            return len(self.plans) * rates
        return math.prod(group.size for group in self.groups) * rates

    def grid(self) -> Iterator[dict[str, Any]]:
        """All trials of a finite space, as Optuna parameters without the fixed ones."""
        if self.plans is not None:
            parts = (
                [[{"plan": Domain(choices=(name,))} for name in self.plans]]
                if len(self.plans) > 1
                else []
            )
        else:
            parts = [list(group.domains()) for group in self.groups]
        # One value in each combination, but several in all.
        alternatives = {"plan", *(f"{group.name}.scheme" for group in self.groups)}
        alternatives |= {
            f"{group.name}.bias"
            for group in self.groups
            if group.bias_fields and not group.bias.fixed
        }
        if self.lr is not None:
            parts.append([{"lr": self.lr}])
        for combination in itertools.product(*parts):
            named = {name: domain for part in combination for name, domain in part.items()}
            free = {n: d for n, d in named.items() if not d.fixed or n in alternatives}
            for values in itertools.product(*(domain.values() for domain in free.values())):
                yield dict(zip(free, values, strict=True))

    def without_effect(self, slots: Sequence[Slot]) -> list[dict[str, Any]]:
        """The conditions of groups and rules that match no parameter of a model."""
        wheres = [Where.from_spec(group.where) for group in self.groups]
        wheres += [rule.where for plan in (self.plans or {}).values() for rule in plan.rules]
        named = [piece for slot in slots for piece in _names(slot)]
        unmatched = [where for where in wheres if not any(map(where.matches, named))]
        return [where.spec() for where in dict.fromkeys(unmatched)]

    def idle_groups(self, slots: Sequence[Slot]) -> list[Group]:
        """The groups that apply to no parameter of a model: none matches, or earlier groups match them all."""
        wheres = [Where.from_spec(group.where) for group in self.groups]
        applied = set[int]()
        for slot in slots:
            for piece in slot.pieces():
                names = (piece, *piece.aliases)
                first = (i for i, where in enumerate(wheres) if any(map(where.matches, names)))
                applied |= set(itertools.islice(first, 1))
        return [group for i, group in enumerate(self.groups) if i not in applied]

    def key(self) -> str:
        """A short hash of everything that the space allows; a space with another key is another study."""
        return short_hash(self._canonical())

    def _canonical(self) -> dict[str, Any]:
        plans = (
            None if self.plans is None else {name: plan.spec() for name, plan in self.plans.items()}
        )
        # The tunables of biases stand apart: a space without them has the key that it always had.
        groups = [
            f"{group!r}{dict(group.bias_fields)!r}" if group.bias_fields else repr(group)
            for group in self.groups
        ]
        return {"groups": groups, "plans": plans, "default": self.default, "lr": repr(self.lr)}


def suggest_plan(
    trial: optuna.trial.BaseTrial,
    space: Space | Mapping[str, Any] | str | os.PathLike[str],
    allow_code: Sequence[str] = (),
) -> InitPlan:
    """A plan from a space, for your own Optuna objective.

    Args:
        trial: The trial that is asked.
        space: A space, a mapping, or the path to a YAML file. Its parameters appear in the study as
            `<group>.scheme`, `<group>.<scheme>.<field>`, `<group>.bias`, `<group>.bias.<scheme>.<field>`,
            `plan` and `lr`; a learning rate is read back as `trial.params["lr"]`.
        allow_code: For files: the Python code that they may name. See `InitPlan.load`.

    Raises:
        ConfigError: The space is empty, or has an unknown key, scheme, field or value; or the trial's study was
            begun with a space that has other values (give the changed one another `study_name`).
    """
    return Space.from_spec(space, allow_code).suggest(trial).plan


def _named(key: str, spec: object) -> Mapping[str, Any]:
    """The groups or the plans of a space, by name."""
    named = check_mapping(f"space.{key}", {} if spec is None else spec, "{name: ...}")
    for name in named:
        check_name(f"a name in space.{key}", name)
    return named


def _read_plan(name: str, spec: Any, allow_code: Sequence[str]) -> InitPlan:
    try:
        return InitPlan.from_spec(spec, allow_code)
    except ConfigError as error:
        raise ConfigError(f"space plan {quoted(name)}: {error}") from error


def _read_rate(spec: Any) -> Domain:
    domain = Domain.from_spec("space.lr", spec)
    for value in domain.examples():
        check_number("space.lr", value, above=0.0)
    return domain


def _names(slot: Slot) -> list[Slot]:
    """A parameter, its named parts, and the same under its other names."""
    return [name for one in (slot, *slot.pieces()) for name in (one, *one.aliases)]
