"""From a plan's rules to the assignment of each parameter, and the rules that apply to none."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from initsearch.errors import ConfigError, quoted, shortened
from initsearch.initializers import Initializer
from initsearch.layers import Slot, Twin
from initsearch.plan.fill import Assignment
from initsearch.plan.rules import KEEP, TORCH_DEFAULT, Rule, Where, choice_spec, read_choice

if TYPE_CHECKING:
    from initsearch.plan.plan import InitPlan

_FROZEN = "frozen: kept"
_SKIPPED = "rule {} was not applied, since no pass has shown what follows the layer"
_REMEDY = "pass a batch that reaches it (InitCallback(..., batch=...)), or name it in a rule"


def resolved(plan: "InitPlan", slot: Slot) -> tuple[Initializer | str, int | None]:
    """What fills a parameter, and the number of the rule that says so; see `InitPlan.resolve`."""
    if slot.aliases:
        slot = _speaker(plan, slot)
    choice, number = _choice(plan, slot)
    for alias in slot.aliases:
        other, rule = _choice(plan, alias)
        if number is None:
            choice, number = other, rule
        elif rule is not None and other != choice:
            raise ConfigError(
                f"{slot.name} and {alias.name} are one tied parameter, but rules {number + 1} and "
                f"{rule + 1} fill it with {quoted(choice_spec(choice))} and "
                f"{quoted(choice_spec(other))}: name it in one rule"
            )
    return choice, number


def _speaker(plan: "InitPlan", slot: Slot) -> Slot:
    """A tied parameter under the names of an embedding alone, if a rule means these by `kind`.

    Other names stay if the rule that matches them gives `name`.
    """
    found = [(each, _choice(plan, each)[1]) for each in (slot, *slot.aliases)]
    where = [(each, plan.rules[at].where) for each, at in found if at is not None]
    if not any("embedding" in each.kind for _, each in where):
        return slot
    first, *others = (name for name, each in where if "embedding" in each.kind or each.name)
    return replace(first, aliases=tuple(others))


def _choice(plan: "InitPlan", slot: Slot) -> tuple[Initializer | str, int | None]:
    for number, rule in enumerate(plan.rules):
        if rule.where.matches(slot) and (choice := rule.choice(slot)) is not None:
            return choice, number
    if slot.category not in ("weight", "bias"):
        return KEEP, None
    return (plan.bias if slot.category == "bias" else plan.weight), None


def assignments(
    plan: "InitPlan", slots: Sequence[Slot], include_frozen: bool = False
) -> list[Assignment]:
    """The assignment of each parameter; one for each part if rules or an initializer tell its parts apart.

    Args:
        plan: The rules.
        slots: The parameters of the model.
        include_frozen: Whether parameters with `requires_grad=False` are filled too.

    Raises:
        ConfigError: A parameter is tied, and its names match rules that disagree.
    """
    return [each for slot in slots for each in _of(plan, slot, include_frozen)]


def _of(plan: "InitPlan", slot: Slot, include_frozen: bool) -> list[Assignment]:
    whole = _assignment(plan, slot, include_frozen)
    pieces = slot.pieces()
    if len(pieces) == 1:
        return [whole]
    by_part = whole.initializer is not None and "part" in whole.initializer.needs
    if not by_part and not any(rule.where.part for rule in plan.rules):
        return [whole]
    apart = [_assignment(plan, piece, include_frozen) for piece in pieces]
    if not by_part and len({(each.choice, each.rule) for each in apart}) == 1:
        return [whole]
    return apart


def _assignment(plan: "InitPlan", slot: Slot, include_frozen: bool) -> Assignment:
    choice, number = plan.resolve(slot)
    named = number is not None and plan.rules[number].where != Where()
    notes = [slot.note] if slot.note else []
    before = plan.rules if number is None else plan.rules[:number]
    for place, rule in enumerate(before):
        if rule.where.may_match(slot) and rule.choice(slot) is not None:
            notes.append(f"{_SKIPPED.format(place + 1)}: {_REMEDY}")
    if slot.deliberate and not named and choice != KEEP:
        notes.append(
            f"kept, since the model set it ({slot.deliberate}): a rule that names it fills it"
        )
        choice = KEEP
    if choice != KEEP and number is not None and _carried(slot, plan.rules[number]):
        notes.append(f"zero, since {slot.adds_to} is added to it and carries the value")
        choice = read_choice("zeros") or KEEP
    if not slot.requires_grad and not include_frozen and choice != KEEP:
        notes.append(_FROZEN)
        choice = KEEP
    initializer = None if isinstance(choice, str) else choice
    if initializer is not None and initializer.name == TORCH_DEFAULT:
        initializer = slot.torch_default or initializer
    return Assignment(slot, choice, initializer, number, named, notes)


def completed(assignments: Sequence[Assignment]) -> list[tuple[Slot, Initializer]]:
    """What fills each parameter, completed by its position; those that are kept are left out."""
    return [
        (each.slot, each.initializer.resolved(each.slot))
        for each in assignments
        if each.initializer is not None
    ]


def keep(assignments: Sequence[Assignment], reasons: Mapping[str, str]) -> None:
    """Leave parameters alone, by the names under which they are stored, each with its reason."""
    for each in assignments:
        why = next((reasons[name] for name in each.slot.stored_as if name in reasons), "")
        if why and each.initializer is not None:
            each.choice, each.initializer = KEEP, None
            each.notes.append(f"kept: {why}")


def _carried(slot: Slot, rule: Rule) -> bool:
    """Whether a rule for a part fills the bias that is added to this one as well: that one has the value."""
    partner = slot.adds_to
    return bool(partner and rule.where.part) and rule.where.matches(replace(slot, name=partner))


def follow(twins: Sequence[Twin], assignments: Sequence[Assignment]) -> None:
    """Copies of filled parameters follow them, unless a rule that names a copy fills it."""
    by_name: dict[str, list[Assignment]] = {}
    for each in assignments:
        by_name.setdefault(each.slot.name, []).append(each)
    for twin in twins:
        copies = by_name.get(twin.name, [])
        if all(original.initializer is None for original in by_name[twin.of]):
            continue
        if any(copy.initializer is not None and copy.named for copy in copies):
            continue
        for copy in copies:
            copy.choice, copy.initializer = KEEP, None
            copy.notes[:] = [note for note in copy.notes if note != _FROZEN]
            copy.notes.append(f"follows {twin.of}, of which it is a copy")
        twin.follow()


def without_effect(plan: "InitPlan", assignments: Sequence[Assignment]) -> Iterator[str]:
    """A line for each rule that applies to no parameter; one line for all of a named plan."""
    used = {each.rule for each in assignments}
    skipped = {
        number: _skipped_by(number, assignments)
        for number in range(len(plan.rules))
        if number not in used
    }
    if plan.recipe and len(skipped) > 1 and not any(skipped.values()):
        wanted = "; ".join(str(plan.rules[number].where.spec()) for number in skipped)
        yield f"the plan {plan.recipe} has rules that apply to no parameter of this model: {wanted}"
    else:
        for number, slots in skipped.items():
            yield _no_effect(number, plan.rules[number], slots)


def _skipped_by(number: int, assignments: Sequence[Assignment]) -> list[Slot]:
    """The parameters to which a rule might apply, but of which too little is known."""
    start = _SKIPPED.format(number + 1)
    return [each.slot for each in assignments if any(note.startswith(start) for note in each.notes)]


def _no_effect(number: int, rule: Rule, skipped: Sequence[Slot]) -> str:
    start = f"rule {number + 1} of the plan ({rule.where.spec() or 'any parameter'}) applies to no parameter: "
    if skipped:
        names = ", ".join(slot.name for slot in skipped[:3]) + (", ..." if len(skipped) > 3 else "")
        _, _, why = skipped[0].note.rpartition("from the order of modules: ")
        reason = f" ({shortened(why)})" if why else ""
        return f"{start}no pass has shown what follows {names}{reason}; {_REMEDY}"
    return f"{start}the model has no such parameter, or the rules above match all of them"
