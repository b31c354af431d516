"""What follows from a look for the user: is the baseline beaten, what to take, and how wrong that can be.

All bounds here belong to one family of comparisons of K - 1 candidates with a single one (the baseline, or the
best candidate). Each is one-sided at `RaceRules.family_levels`, so the family errs with probability alpha over
all looks (Bonferroni's inequality; Dunnett's levels are slightly less strict, but need equal variances).
"""

from collections.abc import Mapping, Sequence

from initsearch.race.judged import JudgedPairs
from initsearch.race.rules import BaselineGap, Status


def baseline_gaps(
    evidence: JudgedPairs, names: Sequence[str], baseline: int, beaten_by: int | None
) -> tuple[BaselineGap, ...]:
    """Each candidate's lead over the baseline with its interval, the largest lead first.

    Args:
        evidence: The evidence of the look.
        names: All candidates.
        baseline: Index of the baseline.
        beaten_by: A candidate that beats the baseline by another test of the race, which controls its own
            error: the winner, or a leader after Holm's correction. Its interval is that of the pair alone.
    """
    table, margin = evidence.table, evidence.margin
    gaps = []
    for i, name in enumerate(names):
        if i == baseline:
            continue
        low, high = evidence.family_low[i, baseline], -evidence.family_low[baseline, i]
        if i == beaten_by and low <= margin:
            low, high = evidence.low[i, baseline], -evidence.low[baseline, i]
        gaps.append(
            BaselineGap(
                name=name,
                blocks=int(table.blocks[i, baseline]),
                gap=float(table.gap[i, baseline]),
                low=float(low),
                high=float(high),
                p_value=float(evidence.p_values[i, baseline]),
                beats=bool(low > margin),
            )
        )
    return tuple(sorted(gaps, key=lambda gap: -gap.gap))


def regrets(evidence: JudgedPairs, candidates: Sequence[int]) -> list[float]:
    """Upper bound of how much the best candidate is better than each of these, in units of the metric.

    Multiple comparisons with the best (Hsu, Multiple Comparisons, 1996, chapter 4), on paired differences. If
    the bounds of the truly best candidate against all others hold, which fails with probability alpha at most,
    then all of these bounds hold, so one of the candidates may be picked by the data.

    Args:
        evidence: The evidence of the look.
        candidates: Indices of the candidates to bound.
    """
    low = evidence.family_low
    # A candidate that is worse than another one by its own bound is not the best.
    best = [i for i in range(len(low)) if not (low[:, i] > 0.0).any()]
    return [
        max([0.0, *(float(-low[mine, other]) for other in best if other != mine)])
        for mine in candidates
    ]


def recommend(
    status: Status | None,
    leader: str,
    tie_set: Sequence[str],
    baseline: str | None,
    beaten_by: Sequence[str],
    simplicity: Mapping[str, int],
) -> str:
    """The candidate to take.

    A winner is taken. In a tie it is the baseline if it belongs to the tie, else the simplest, and of several
    equally simple ones the best. Undecided, it is the baseline unless that is beaten, then the leader, or the
    first of `beaten_by` if the leader does not beat the baseline. Without a baseline it is the leader.

    Args:
        status: Outcome of the look.
        leader: The candidate with the best mean.
        tie_set: The leader and those that it is not shown to be better than, best first.
        baseline: The baseline, if there is one.
        beaten_by: Those that beat the baseline, the largest lead first.
        simplicity: Rank by name, smaller is simpler; candidates without a rank are the least simple.
    """
    if status == "winner":
        return leader
    if status == "tie":
        if baseline in tie_set:
            return str(baseline)
        return min(tie_set, key=lambda name: simplicity.get(name, float("inf")))
    if baseline is None or leader in beaten_by:
        return leader
    return beaten_by[0] if beaten_by else baseline
