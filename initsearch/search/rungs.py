"""Budgets and rungs: how far candidates are trained, and which of them pass from one rung to the next.

Asynchronous successive halving (Li et al., A System for Massively Parallel Hyperparameter Tuning, MLSys 2020,
arXiv 1810.05934): a candidate passes a rung if it is among the best 1/factor of all that have been measured
there so far, so no candidate waits for a rung to fill. A candidate that is dropped at a rung is not called
beaten: early rungs favour fast starters.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush, heappushpop

from initsearch.errors import ConfigError
from initsearch.search.metric import Metric
from initsearch.search.settings import StudySettings
from initsearch.tasks import step_at


@dataclass(frozen=True)
class Budgets:
    """How far candidates are trained, in epochs.

    Attributes:
        rungs: Where they are compared, ascending; the last is the full budget.
        points: Where they are validated, ascending; the rungs are among them.
        early: Where the search validates them once before the first rung, which shows how fast they rise; 0:
            nowhere.
        probe: Where the probe ends, before the first rung; 0: there is no probe.
        steps_per_epoch: Optimizer steps of an epoch.
    """

    rungs: tuple[float, ...]
    points: tuple[float, ...]
    early: float
    probe: float
    steps_per_epoch: int

    @property
    def full(self) -> float:
        """The full budget."""
        return self.rungs[-1]

    @property
    def steps(self) -> int:
        """Optimizer steps of the full budget."""
        return step_at(self.full, self.steps_per_epoch)


def make_budgets(
    settings: StudySettings, metric: Metric, per_epoch: int, *, probe: bool = True
) -> Budgets:
    """The budgets of a study; budgets that round to the same step are one.

    Args:
        settings: What is searched.
        metric: If it uses whole curves, candidates are validated between the rungs as well.
        per_epoch: Optimizer steps of an epoch.
        probe: Whether starting a job is cheap enough for one of a few steps.
    """
    search, full = settings.search, settings.max_epochs
    rungs = _distinct(
        rung_epochs(full, search.reduction_factor, search.first_rung * full), per_epoch
    )
    often = settings.evaluations_per_epoch if metric.whole_curve else 0
    between = [number / often for number in range(1, math.floor(full * often) + 1)]
    first = rungs[-1] if search.pruner == "none" else rungs[0]
    has_probe = probe and 0 < search.probe_steps < step_at(first, per_epoch)
    return Budgets(
        rungs=rungs,
        points=_distinct((*between, *rungs), per_epoch),
        early=_early(settings, rungs, metric, per_epoch),
        probe=search.probe_steps / per_epoch if has_probe else 0.0,
        steps_per_epoch=per_epoch,
    )


def _early(
    settings: StudySettings, rungs: Sequence[float], metric: Metric, per_epoch: int
) -> float:
    """As far before the first rung as that is before the second; 0 if no candidate needs a projection."""
    search = settings.search
    if search.reserve == 0 or search.pruner == "none" or len(rungs) < 2 or metric.whole_curve:
        return 0.0
    early = rungs[0] / search.reduction_factor
    return early if step_at(early, per_epoch) < step_at(rungs[0], per_epoch) else 0.0


def _distinct(epochs: Sequence[float], per_epoch: int) -> tuple[float, ...]:
    """One epoch per step that they round to, ascending: the last of those given.

    Where a step is a whole epoch, they are whole epochs.
    """
    by_step = {step_at(epoch, per_epoch): epoch for epoch in epochs}
    return tuple(sorted(map(float, by_step) if per_epoch == 1 else by_step.values()))


def rung_epochs(max_epochs: float, reduction_factor: float, first: float) -> tuple[float, ...]:
    """The budgets at which candidates are compared, the full one last.

    Counted down from the full budget, each the one above it divided by the factor, as long as it is not below
    `first`: `rung_epochs(9, 3, 0.5)` is (1, 3, 9).

    Args:
        max_epochs: The full budget in epochs, above 0.
        reduction_factor: Ratio of a budget to the one below it, above 1.
        first: The smallest budget that is worth a comparison, in epochs, above 0.

    Raises:
        ConfigError: A number outside its range.
    """
    if not 0.0 < max_epochs < math.inf:
        raise ConfigError(f"max_epochs must be positive and finite, but got {max_epochs}: try 4")
    if not first > 0.0:
        raise ConfigError(f"first must be above 0 epochs, but got {first}: try {max_epochs / 4:g}")
    _check_factor(reduction_factor)
    count = 1
    while max_epochs / reduction_factor**count >= first * (1.0 - 1e-9):
        count += 1
    return tuple(max_epochs / reduction_factor**k for k in reversed(range(count)))


class RungTable:
    """The scores seen at each rung, and which candidates pass.

    A candidate passes if its score is among the best ceil(n / factor) of the n that have been added at the
    rung. Equal scores pass together; NaN (diverged) counts among the n and never passes. The answer depends on
    nothing but what was added before. Adding takes O(log n), asking O(1).

    Args:
        reduction_factor: About one in this many passes; above 1.
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
        """Add a score; adding the same one again changes nothing.

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
                f"candidate {candidate} must have one score at rung {rung}, but got {score} after "
                f"{scores[candidate]}"
            )
        scores[candidate] = score
        best, rest = self._best.setdefault(rung, []), self._rest.setdefault(rung, [])
        worst_of_best = heappushpop(best, self._merit(score)) if best else self._merit(score)
        heappush(rest, -worst_of_best)
        while len(best) < math.ceil(len(scores) / self._factor):
            heappush(best, -heappop(rest))

    def keep(self, rung: float, candidate: int) -> bool:
        """Whether a candidate passes a rung, by what has been added there so far.

        Raises:
            ConfigError: The candidate was not added at this rung.
        """
        if candidate not in self._scores.get(rung, {}):
            raise ConfigError(f"candidate {candidate} has no score at rung {rung}: add it first")
        merit = self._merit(self._scores[rung][candidate])
        return merit > -math.inf and merit >= self._best[rung][0]

    def _merit(self, score: float) -> float:
        return -math.inf if math.isnan(score) else self._sign * score


def _check_factor(reduction_factor: float) -> None:
    if not 1.0 < reduction_factor < math.inf:
        raise ConfigError(
            f"reduction_factor must be above 1, but got {reduction_factor}: try 2 or 3"
        )
