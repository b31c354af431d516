"""The learning rates of a search: at which rate each scheme did best, apart from which scheme did best."""

from collections.abc import Sequence

from initsearch.search.candidates import TrainedCandidate
from initsearch.search.metric import Metric
from initsearch.search.verdict import SchemeRate


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
