"""A plan that draws what was identified, rule by rule."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

from initsearch.audit.identified import Identified
from initsearch.audit.units import without_numbers
from initsearch.initializers import Initializer
from initsearch.layers import Slot
from initsearch.plan import InitPlan, Rule, Where
from initsearch.plan.rules import KEEP

Drawn = Initializer | str


def plan_of(slots: Sequence[Slot], found: Sequence[Identified]) -> tuple[InitPlan, list[str]]:
    """The plan, and the parameters that it cannot draw and keeps.

    Each initializer has a rule for weights, for biases or both: by the kind of layer if all layers of that kind
    agree, else by name; parts of a parameter that differ have rules of their own. The most frequent initializer
    stands last, and may have kinds of which the rules above take some layers. No rule is without a condition:
    what a model set on purpose is filled by a rule that names it only.
    """
    units: dict[str, list[Identified]] = defaultdict(list)
    for each in found:
        units[each.unit.slot.name].append(each)
    drawn: dict[str, Drawn] = {}
    apart: list[Slot] = []
    for slot in slots:
        choices = {each.initializer for each in units[slot.name]}
        if len(choices) == 1:
            drawn[slot.name] = next(iter(choices)) or KEEP
        elif choices and None not in choices:
            apart.append(slot)
        else:
            drawn[slot.name] = KEEP
    kept = [slot.name for slot in slots if drawn.get(slot.name) == KEEP and 0 not in slot.shape]
    rules = list(_part_rules(apart, units))
    for bias in (False, True):
        side = [
            slot
            for slot in slots
            if slot.name in drawn and (slot.category in ("bias", "norm_bias")) == bias
        ]
        counts = Counter(drawn[slot.name] for slot in side)
        for number, (choice, _) in enumerate(reversed(counts.most_common()), start=1):
            same = [slot for slot in side if drawn[slot.name] == choice]
            for where in _conditions(same, side, drawn, choice, is_last=number == len(counts)):
                rules.append(Rule(where, None, choice) if bias else Rule(where, choice, None))
    return InitPlan(tuple(rules)), kept


def _part_rules(slots: Sequence[Slot], units: Mapping[str, Sequence[Identified]]) -> Iterator[Rule]:
    """Rules for parameters whose parts were drawn differently, by name and part."""
    names: dict[tuple[str, Initializer, bool, bool], list[str]] = defaultdict(list)
    for slot in slots:
        for each in units[slot.name]:
            assert each.initializer is not None
            # A bias that is added to another one has its own rules: one rule would set only the other.
            key = (each.unit.part, each.initializer, slot.category == "bias", bool(slot.adds_to))
            names[key].append(slot.name)
    for (part, choice, bias, _), same in names.items():
        where = Where(name=tuple(same), part=(part,))
        yield Rule(where, None, choice) if bias else Rule(where, choice, None)


def _conditions(
    same: Sequence[Slot],
    side: Sequence[Slot],
    drawn: dict[str, Drawn],
    choice: Drawn,
    *,
    is_last: bool,
) -> list[Where]:
    """Conditions that match the parameters of one initializer, and no others of this side.

    The last ones may match others that the rules above match.
    """
    kinds: list[str] = []
    names: list[str] = []
    for slot in same:
        of_kind = [other for other in side if slot.kind in _kinds(other)]
        agree = is_last or all(drawn[other.name] == choice for other in of_kind)
        if slot.kind != "other" and agree:
            kinds.append(slot.kind)
        else:
            pattern = without_numbers(slot.name)
            matched = [other for other in side if _matches(pattern, other)]
            alone = all(drawn[other.name] == choice for other in matched)
            names.append(pattern if alone else slot.name)
    conditions = []
    if kinds:
        conditions.append(Where(kind=tuple(dict.fromkeys(kinds))))
    if names:
        conditions.append(Where(name=tuple(dict.fromkeys(names))))
    return conditions


def _kinds(slot: Slot) -> set[str]:
    return {each.kind for each in (slot, *slot.aliases)}


def _matches(pattern: str, slot: Slot) -> bool:
    names = (name for each in (slot, *slot.aliases) for name in (each.name, each.module_name))
    return any(fnmatchcase(name, pattern) for name in names)
