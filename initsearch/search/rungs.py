"""Rungs: budgets at which candidates are compared, and the share that goes on from each.

Asynchronous successive halving (Li et al., A System for Massively Parallel Hyperparameter Tuning,
MLSys 2020, arXiv 1810.05934): a candidate goes on when it is among the best 1/factor of all that
have been measured at the rung so far, so that nobody waits for a rung to fill. What is dropped at a
rung is never called beaten: early rungs favour fast starters, which is what `kendall` measures.
"""

import math
from collections.abc import Mapping
from heapq import heappop, heappush, heappushpop

from scipy.stats import kendalltau

from initsearch.errors import ConfigError


def rung_epochs(max_epochs: float, reduction_factor: float, first: float) -> tuple[float, ...]:
    """The budgets at which candidates are compared, the full one last.

    Counted down from the full budget, each the next one divided by the factor, as long as it is not
    below `first`: `rung_epochs(9, 3, 0.5)` is (1, 3, 9).

    Args:
        max_epochs: The full budget in epochs, above 0.
        reduction_factor: Ratio of one budget to the one before, above 1.
        first: The smallest budget that is worth a comparison, in epochs, above 0.

    Raises:
        ConfigError: A number outside its range.
    """
    if not 0.0 < max_epochs < math.inf:
        raise ConfigError(f"max_epochs must be positive: got {max_epochs}")
    if not first > 0.0:
        raise ConfigError(f"the first rung must be above 0 epochs: got {first}")
    _check_factor(reduction_factor)
    count = 1
    while max_epochs / reduction_factor**count >= first * (1.0 - 1e-9):
        count += 1
    return tuple(max_epochs / reduction_factor**k for k in reversed(range(count)))


class RungTable:
    """The scores seen at each rung, and who goes on.

    A candidate goes on when its score is among the best ceil(n / factor) of the n that have been
    added at the rung; equal scores go on together; NaN (diverged) counts among the n and never goes
    on. The answer depends on nothing but what was added before. Adding takes O(log n), asking O(1).

    Args:
        reduction_factor: About one in so many goes on; above 1.
        higher_is_better: The score's direction.

    Raises:
        ConfigError: A factor of 1 or less.
    """

    def __init__(self, reduction_factor: float, higher_is_better: bool = True) -> None:
        _check_factor(reduction_factor)
        self._factor = reduction_factor
        self._sign = 1.0 if higher_is_better else -1.0
        self._scores: dict[float, dict[int, float]] = {}
        # Per rung the best scores, worst of them first, and the negated rest: two heaps.
        self._best: dict[float, list[float]] = {}
        self._rest: dict[float, list[float]] = {}

    def add(self, rung: float, candidate: int, score: float) -> None:
        """Tell a score; the same one told again changes nothing.

        Args:
            rung: The budget that was reached.
            candidate: The candidate's number.
            score: Its score there; NaN if it diverged.

        Raises:
            ConfigError: The candidate has another score at this rung already.
        """
        scores = self._scores.setdefault(rung, {})
        if candidate in scores:
            if scores[candidate] == score or (math.isnan(scores[candidate]) and math.isnan(score)):
                return
            raise ConfigError(
                f"candidate {candidate} has one score at rung {rung}: got {score} after "
                f"{scores[candidate]}"
            )
        scores[candidate] = score
        best, rest = self._best.setdefault(rung, []), self._rest.setdefault(rung, [])
        worst_of_best = heappushpop(best, self._merit(score)) if best else self._merit(score)
        heappush(rest, -worst_of_best)
        while len(best) < math.ceil(len(scores) / self._factor):
            heappush(best, -heappop(rest))

    def keep(self, rung: float, candidate: int) -> bool:
        """Whether a candidate goes on from a rung, by what has been added there so far.

        Raises:
            ConfigError: The candidate was not added at this rung.
        """
        if candidate not in self._scores.get(rung, {}):
            raise ConfigError(f"candidate {candidate} has no score at rung {rung}: add it first")
        merit = self._merit(self._scores[rung][candidate])
        return merit > -math.inf and merit >= self._best[rung][0]

    def _merit(self, score: float) -> float:
        return -math.inf if math.isnan(score) else self._sign * score


def kendall(
    rung_scores: Mapping[str, float],
    full_scores: Mapping[str, float],
    higher_is_better: bool = True,
) -> float | None:
    """How well a rung ranks the candidates as the full budget does: Kendall's tau-b.

    Args:
        rung_scores: Score by name at the rung; NaN (diverged) ranks last.
        full_scores: Score by name at the full budget; names in only one of both are left out.
        higher_is_better: The score's direction, which decides where NaN goes.

    Returns:
        From -1 (reversed) over 0 (unrelated) to 1 (the same order); None where fewer than two
        candidates are in both, or one side ranks them all equal.
    """
    last = -math.inf if higher_is_better else math.inf
    names = [name for name in rung_scores if name in full_scores]
    rung, full = (
        [last if math.isnan(scores[name]) else scores[name] for name in names]
        for scores in (rung_scores, full_scores)
    )
    if len(set(rung)) < 2 or len(set(full)) < 2:
        return None
    return float(kendalltau(rung, full).statistic)


def _check_factor(reduction_factor: float) -> None:
    if not 1.0 < reduction_factor < math.inf:
        raise ConfigError(f"reduction_factor must be above 1: got {reduction_factor}; try 2 or 3")
