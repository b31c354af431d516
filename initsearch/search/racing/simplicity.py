"""Which of several equivalent plans is the simplest: a rule that is stated before the race.

A plan with fewer free numbers comes first, so a named preset (`he_normal`) comes before
`variance_scaling(factor=0.896398)`: a number that a search found is specific to the study that found it. Of
these, a plan with fewer rules comes first, and then one with fewer other arguments (`mode`, `distribution`).
Numbers and arguments that are the initializer's defaults do not count.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from initsearch.training.job import Candidate


def simplicity_ranks(candidates: Sequence[Candidate]) -> dict[str, int]:
    """The rank of each candidate by name, from 0 for the simplest; equally simple ones share a rank."""
    keys = {candidate.name: _complexity(candidate.plan) for candidate in candidates}
    order = sorted(set(keys.values()))
    return {name: order.index(key) for name, key in keys.items()}


def _complexity(plan: Mapping[str, Any]) -> tuple[int, int, int]:
    """Free numbers, rules, other arguments of a plan's specification."""
    rules = plan.get("rules", ())
    values = [
        value
        for part in (*rules, plan.get("default", {}))
        for key in ("weight", "bias")
        for value in _arguments(part.get(key))
    ]
    numbers = sum(
        isinstance(value, int | float) and not isinstance(value, bool) for value in values
    )
    return numbers, len(rules), len(values) - numbers


def _arguments(initializer: object) -> Iterator[object]:
    """The values of an initializer's arguments, those of nested mappings and lists included."""
    if isinstance(initializer, Mapping):
        for key, value in initializer.items():
            if key != "name":
                yield from _flat(value)


def _flat(value: object) -> Iterator[object]:
    if isinstance(value, Mapping):
        for inner in value.values():
            yield from _flat(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _flat(inner)
    else:
        yield value
