"""What a race says nothing about: candidates that the search dropped, and schemes that were never tried."""

from collections.abc import Sequence

from initsearch.race import SearchCounts
from initsearch.search.candidates import TrainedCandidate
from initsearch.space import Space
from initsearch.training.job import Candidate


def count_search(
    candidates: Sequence[TrainedCandidate], entrants: Sequence[TrainedCandidate], space: Space
) -> SearchCounts:
    """Count the candidates of a search, and what its space names but no candidate tried.

    Twins (the same plan and learning rate as an earlier candidate) do not count.

    Args:
        candidates: All candidates of the search.
        entrants: Those that entered the race.
        space: The space of the study.
    """
    distinct = sum(one.candidate.twin_of is None for one in candidates)
    named, untried = _untried([one.candidate for one in candidates], space)
    return SearchCounts(
        candidates=distinct,
        dropped=distinct - len(entrants),
        named=named,
        untried=len(untried),
        untried_names=tuple(untried),
    )


def _untried(candidates: Sequence[Candidate], space: Space) -> tuple[int, list[str]]:
    """The number of plans or schemes that the space names, and those that no candidate had."""
    if space.plans is not None:
        # A plan that is the baseline under another name has the baseline's scheme.
        tried = {name for one in candidates for name in (one.scheme, one.params.get("plan"))}
        return len(space.plans), [name for name in space.plans if name not in tried]
    free = [group for group in space.groups if len(group.schemes) > 1]
    untried = []
    for group in free:
        tried = {candidate.params.get(f"{group.name}.scheme", "") for candidate in candidates}
        prefix = f"{group.name}:" if len(free) > 1 else ""
        untried += [prefix + scheme for scheme in group.schemes if scheme not in tried]
    return sum(len(group.schemes) for group in free), untried
