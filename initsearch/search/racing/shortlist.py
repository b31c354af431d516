"""The short list: which candidates of the search enter the race."""

from collections.abc import Sequence

from initsearch.search.candidates import TrainedCandidate
from initsearch.search.metric import Metric
from initsearch.search.verdict import CandidateStatus


def shortlist(
    candidates: Sequence[TrainedCandidate], baseline: str, metric: Metric, size: int
) -> list[TrainedCandidate]:
    """The best candidate of each scheme that had the full budget, best first, and the baseline.

    An arm enters once, at its best learning rate, even if it belongs to two schemes: entrants differ in the
    weights that they start from.

    If that is a single one, the best of those that were pruned joins it: to be behind at a rung is not to be
    beaten.

    Args:
        candidates: The candidates of the search.
        baseline: The baseline's scheme.
        metric: Gives the direction.
        size: Number of schemes at most, the baseline not counted.
    """
    best: dict[str, TrainedCandidate] = {}
    arms = set[str]()
    for candidate in _ranked(candidates, "complete", metric):
        scheme, arm = candidate.candidate.scheme, candidate.candidate.arm
        if scheme not in best and arm not in arms:
            best[scheme] = candidate
            arms.add(arm)
    rivals = [candidate for scheme, candidate in best.items() if scheme != baseline][:size]
    entrants = [c for scheme, c in best.items() if scheme == baseline or c in rivals]
    if baseline not in best:
        # A baseline that diverged in the search races all the same: its failure is part of the answer.
        missing = (c for c in candidates if c.candidate.scheme == baseline)
        entrants += [candidate for candidate in missing if candidate.status != "failed"][:1]
    if len(entrants) == 1:
        present = entrants[0].candidate
        pruned = _ranked(candidates, "pruned", metric)
        others = (c for c in pruned if c.candidate.arm != present.arm)
        entrants += [c for c in others if c.candidate.scheme != present.scheme][:1]
    return entrants


def baseline_of(entrants: Sequence[TrainedCandidate], baseline: str) -> TrainedCandidate:
    """The entrant that stands for the baseline's scheme; the first one if it could not be trained."""
    return next((e for e in entrants if e.candidate.scheme == baseline), entrants[0])


def missing_baseline(
    candidates: Sequence[TrainedCandidate], entrants: Sequence[TrainedCandidate], baseline: str
) -> str:
    """Why the baseline is not in the race, and what stands in its place; empty if it is.

    Args:
        candidates: The candidates of the search.
        entrants: Those of the short list.
        baseline: The baseline's scheme.
    """
    instead = baseline_of(entrants, baseline)
    if instead.candidate.scheme == baseline:
        return ""
    reasons = [c.reason for c in candidates if c.candidate.scheme == baseline and c.reason]
    why = f" ({reasons[0]})" if reasons else ""
    return (
        f"the baseline {baseline} failed in the search{why} and is not in the race; "
        f"{instead.name} stands in its place"
    )


def too_few(candidates: Sequence[TrainedCandidate]) -> str:
    """Why there is no race, and what to change, if fewer than two candidates can enter it."""
    complete = [c for c in candidates if c.status == "complete"]
    # A task without a learning rate of its own trains at the user's.
    own = all(c.candidate.lr is None for c in candidates)
    remedy = "check the scores, lower your learning rate" if own else "lower optimizer.lr"
    diverged, failed = (sum(c.status == end for c in candidates) for end in ("diverged", "failed"))
    reasons = sorted({c.reason for c in candidates if c.status in ("diverged", "failed")})
    ends = f"{diverged} diverged, {failed} failed" + (
        f": {'; '.join(reasons[:2])}" if reasons else ""
    )
    if len(complete) > 1:
        return (
            f"a race needs candidates of two schemes, but the {len(complete)} of {len(candidates)} that "
            f"completed the search are all {complete[0].candidate.scheme!r} ({ends}): widen the space, raise "
            "n_trials, or add a baseline"
        )
    return (
        f"a race needs two candidates, but of {len(candidates)} only {len(complete)} completed the search "
        f"({ends}): {remedy}, widen the space, or raise n_trials; tracebacks of failures are in the "
        "study's folder, jobs/failed-*.txt, and failed candidates are tried again under another seed= or "
        "output_dir="
    )


def _ranked(
    candidates: Sequence[TrainedCandidate], status: CandidateStatus, metric: Metric
) -> list[TrainedCandidate]:
    """Those with this status, furthest trained first and the best of them first."""
    sign = -1 if metric.higher_is_better else 1
    return sorted(
        (c for c in candidates if c.status == status),
        key=lambda c: (-c.epoch, sign * c.score, c.candidate.number),
    )
