"""The learning rates of a search: at which rate each scheme did best, apart from which scheme did best.

The race compares schemes at their own best rates. Whether a gap is one of initialization or of the rate shows
in the search, where two schemes ran at one rate. These gaps are from the search's seeds, which also chose the
rates: they are not part of what the race has shown.
"""

from collections.abc import Sequence

from initsearch.search.candidates import TrainedCandidate
from initsearch.search.metric import Metric
from initsearch.search.verdict import RateGap, SchemeRate


def best_rates(candidates: Sequence[TrainedCandidate], metric: Metric) -> tuple[SchemeRate, ...]:
    """The best learning rate of each scheme of which a candidate completed the search, the best scheme first.

    Args:
        candidates: The candidates of the search.
        metric: Gives the direction.

    Returns:
        Empty if the search had a single learning rate, or none.
    """
    if len({candidate.candidate.lr for candidate in candidates}) < 2:
        return ()
    tried: dict[str, set[float]] = {}
    scores: dict[str, dict[float, float]] = {}
    sign = 1.0 if metric.higher_is_better else -1.0
    for each in candidates:
        scheme, lr = each.candidate.scheme, each.candidate.lr
        if lr is None:
            continue
        tried.setdefault(scheme, set()).add(lr)
        if each.status == "complete":
            of_scheme = scores.setdefault(scheme, {})
            of_scheme[lr] = sign * max(sign * each.score, sign * of_scheme.get(lr, each.score))
    rates = []
    for scheme, by_rate in scores.items():
        best = max(by_rate, key=lambda lr: sign * by_rate[lr])
        rates.append(
            SchemeRate(
                scheme=scheme,
                lr=best,
                score=by_rate[best],
                scores=dict(sorted(by_rate.items())),
                tried=tuple(sorted(tried[scheme])),
            )
        )
    return tuple(sorted(rates, key=lambda rate: -sign * rate.score))


def rate_gaps(
    rates: Sequence[SchemeRate], leader: str, schemes: Sequence[str], metric: Metric
) -> tuple[RateGap, ...]:
    """The leader's gaps to other schemes at each other's best learning rates, as far as the search tried them.

    Args:
        rates: As `best_rates` returns them.
        leader: The scheme of the race's leader.
        schemes: The schemes of the race.
        metric: Gives the direction.

    Returns:
        One per other scheme with another best rate of which at least one such gap is known.
    """
    by_scheme = {rate.scheme: rate for rate in rates}
    mine = by_scheme.get(leader)
    if mine is None:
        return ()
    sign = 1.0 if metric.higher_is_better else -1.0
    found = []
    for rate in rates:
        if rate.scheme == leader or rate.scheme not in schemes or rate.lr == mine.lr:
            continue
        gaps = {
            lr: sign * (mine.scores[lr] - rate.scores[lr])
            for lr in sorted((mine.lr, rate.lr))
            if lr in mine.scores and lr in rate.scores
        }
        if gaps:
            own = sign * (mine.score - rate.score)
            found.append(RateGap(leader, rate.scheme, own, gaps))
    return tuple(found)
