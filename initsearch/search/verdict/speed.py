"""How soon a candidate is as good as the baseline is in the end, as a share of the budget.

Initialization often changes the speed of a training more than its end. The curves of the race answer this for
every study: along the budget, a candidate's score is compared with the baseline's final score on the same seed.
The interval consists of the places at which a paired t-test does not show which of the two is better. It covers
the place where the mean curve crosses, as Fieller's interval covers a ratio. Between two evaluations a curve
counts as a straight line, which is below a curve that flattens: the true share is rather smaller.
"""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from initsearch.search.metric import Metric
from initsearch.search.verdict import Speed
from initsearch.training.job import Curve

#: The budget is divided into so many parts: shares have two decimals.
PARTS = 100

Floats = NDArray[np.float64]


def speeds(
    curves: Mapping[str, Mapping[int, Curve]], baseline: str, metric: Metric, alpha: float
) -> dict[str, Speed]:
    """The speed of each candidate but the baseline; without those whose curves do not show it.

    Args:
        curves: Learning curve by candidate's name and seed.
        baseline: The baseline's name.
        metric: What candidates are compared by. If it is not a score of a point, it is the validation accuracy
            that is reached.
        alpha: Intervals have level 1 - alpha, for each candidate alone.
    """
    sign = 1.0 if metric.higher_is_better or metric.whole_curve else -1.0
    score = "val_accuracy" if metric.whole_curve else metric.name
    found = {}
    for name, by_seed in curves.items():
        pairs = [
            (curve, curves[baseline][seed])
            for seed, curve in by_seed.items()
            if seed in curves[baseline]
        ]
        unknown = any(_is_incomplete(curve, score) for pair in pairs for curve in pair)
        if name == baseline or len(pairs) < 2 or unknown:
            continue
        first, full = (pairs[0][0].points[end].epoch for end in (0, -1))
        grid = np.append(first, np.arange(1, PARTS + 1) * full / PARTS)
        grid = grid[grid >= first]
        leads = [
            sign * (_at(grid, mine, score) - theirs.points[-1].scores[score])
            for mine, theirs in pairs
        ]
        found[name] = _crossing(grid / full, np.array(leads), alpha)
    return found


def _is_incomplete(curve: Curve, score: str) -> bool:
    known = all(score in point.scores for point in curve.points)
    return curve.diverged or len(curve.points) < 2 or not known


def _at(epochs: Floats, curve: Curve, score: str) -> Floats:
    points = curve.points
    return np.interp(epochs, [p.epoch for p in points], [p.scores[score] for p in points])


def _crossing(shares: Floats, leads: Floats, alpha: float) -> Speed:
    """Where leads of shape (seeds, shares) become positive: on average, possibly, and certainly."""
    seeds = len(leads)
    mean, error = leads.mean(axis=0), leads.std(axis=0, ddof=1) / math.sqrt(seeds)
    half = -float(stdtrit(seeds - 1, alpha / 2)) * error
    share, low, high = (_first(shares, lead) for lead in (mean, mean + half, mean - half))
    return Speed(share, low, high)


def _first(shares: Floats, leads: Floats) -> float:
    """The first share with a lead of 0 or more; NaN if there is none."""
    reached = np.flatnonzero(leads >= 0.0)
    return float(shares[reached[0]]) if len(reached) else math.nan
