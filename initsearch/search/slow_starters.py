"""Slow starters: candidates that are behind at a rung, and would be ahead at full budget if they kept rising.

A head or residual branches at zero, or small weights, start slowly and may be the best in the end. Learning
curves rise about linearly with the logarithm of the budget until they flatten. Continuing that line to the full
budget is too optimistic for every candidate, and most for those on the steep part: it shows which may yet win.

`scripts/simulate_search.py` compares this with a place for every scheme family, with cohorts that skip the
early rungs, and with a later first rung.
"""

import math
import statistics

from initsearch.search.candidates import TrainedCandidate
from initsearch.search.metric import Metric
from initsearch.search.rungs import RungTable


class Reserve:
    """Places at each rung for the candidates of the best projections, whatever their scores.

    Args:
        share: Share of the candidates at a rung that have a place, in (0, 1).
        metric: What candidates are compared by.
        full: The full budget, in epochs.
    """

    def __init__(self, share: float, metric: Metric, full: float) -> None:
        self._metric = metric
        self._full = full
        self._table = RungTable(1.0 / share, metric.higher_is_better)

    def add(self, candidate: TrainedCandidate, epoch: float) -> None:
        """Add a candidate that has been measured at a rung."""
        score = projection(candidate, epoch, self._full, self._metric)
        self._table.add(epoch, candidate.candidate.number, score)

    def keep(self, candidate: TrainedCandidate, epoch: float) -> bool:
        """Whether a candidate that was added has a place, by what has been added at the rung so far."""
        return self._table.keep(epoch, candidate.candidate.number)


def projection(candidate: TrainedCandidate, epoch: float, full: float, metric: Metric) -> float:
    """The score at full budget if it kept rising with the logarithm of the budget: the mean over the seeds.

    Args:
        candidate: A candidate that has been trained to `epoch`.
        epoch: Where it was measured last.
        full: The full budget, in epochs.
        metric: What candidates are compared by.

    Returns:
        NaN if a seed has no measurement before `epoch`.
    """
    projections = []
    for curve in candidate.curves.values():
        before = [point for point in curve.points if point.epoch < epoch]
        if not before:
            return math.nan
        score = metric.score(curve.points, curve.diverged)
        rise = score - metric.score(before, curve.diverged)
        ahead = math.log(full / epoch) / math.log(epoch / before[-1].epoch)
        projections.append(score + rise * ahead)
    return statistics.fmean(projections)
