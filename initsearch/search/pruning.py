"""What happens to candidates at the end of a stage: they are measured, and those that cannot win are dropped.

A candidate ends when its training fails or diverges, when an exact check shows that it cannot learn, or when it
is behind the others at a rung. `Judge` reports all of it to Optuna and to the tracker.

The first stage, the probe, orders the work and drops nothing. After twenty steps at its own learning rate, a
small model that will fail still has the loss of a guess, and one that will succeed has left it; the loss before
the first step shows neither. But this is no proof: a scheme that starts slowly may win in the end.
"""

import math
import statistics
from collections.abc import Iterator, Sequence

from optuna.trial import TrialState

from initsearch.search.candidates import REASON, SIGN, STATUS, TrainedCandidate
from initsearch.search.context import StudyContext
from initsearch.search.rungs import RungTable
from initsearch.search.slow_starters import Reserve
from initsearch.search.tracker import Measurement, curve_measurements
from initsearch.search.trials import TrialStore
from initsearch.search.verdict import CandidateStatus

#: A loss above this share of a guess's has not moved: in measurements, failures stayed at 2.30, a guess among
#: ten classes, and successes reached 2.18 or less.
STILL = 0.97
#: How a trial ends in Optuna, by what became of its candidate.
STATES: dict[CandidateStatus, TrialState] = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "diverged": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


class Judge:
    """Measures candidates at the end of a stage and ends those that go no further.

    Args:
        context: The study.
        trials: Its trials in Optuna.
    """

    def __init__(self, context: StudyContext, trials: TrialStore) -> None:
        search, metric = context.settings.search, context.metric
        self._context = context
        self._trials = trials
        self._table = RungTable(search.reduction_factor, metric.higher_is_better)
        # A metric of whole curves rewards a fast start itself.
        has_reserve = search.reserve > 0 and not metric.whole_curve
        full = context.budgets.full
        self._reserve = Reserve(search.reserve, metric, full) if has_reserve else None
        self._baseline = next(iter(context.settings.baselines))

    def after_probe(self, candidates: Sequence[TrainedCandidate]) -> None:
        """Note what the probe showed of each candidate; only what cannot train at all ends."""
        for candidate in self._trained(candidates):
            self._note_sign(candidate)
            self._end_if_diverged(candidate)

    def at_rung(self, candidates: Sequence[TrainedCandidate], epoch: float, *, last: bool) -> None:
        """Score each candidate at a rung and end those that are behind; at the last rung all are complete.

        Args:
            candidates: Those that were trained together up to the rung.
            epoch: The rung.
            last: Whether it is the full budget.
        """
        for candidate in self._trained(candidates):
            self._measure(candidate, epoch)
            self._end_if_diverged(candidate)
            if candidate.status is None:
                candidate.report()
        standing = [candidate for candidate in candidates if candidate.status is None]
        if last:
            for candidate in standing:
                self._end(candidate, "complete")
        else:
            self._drop_behind(standing, epoch)

    def repeat(self, twin: TrainedCandidate, first: TrainedCandidate) -> None:
        """End a candidate that repeats an earlier one with the earlier one's result, if that has ended."""
        if first.status is None:
            return
        twin.curves, twin.scores = first.curves, first.scores
        twin.probe_loss, twin.sign = first.probe_loss, first.sign
        if not math.isnan(twin.score):
            twin.report()
        self._end(twin, first.status, f"same as trial {first.candidate.number}")

    def _trained(self, candidates: Sequence[TrainedCandidate]) -> Iterator[TrainedCandidate]:
        """Those that were trained; ends those whose training failed or that cannot learn."""
        for candidate in candidates:
            stopped = next((c.stopped for c in candidate.curves.values() if c.stopped), "")
            if candidate.status == "failed":
                self._end(candidate, "failed", candidate.reason)
            elif stopped:
                self._end(candidate, "pruned", f"cannot learn: {stopped}")
            else:
                yield candidate

    def _note_sign(self, candidate: TrainedCandidate) -> None:
        (curve,) = candidate.curves.values()
        if curve.diverged or curve.last_loss is None:
            return
        steps = self._context.settings.search.probe_steps
        candidate.probe_loss = curve.last_loss
        guess = self._context.guess.get("train_loss")
        candidate.sign = sign_of(curve.last_loss, curve.initial_loss, guess, steps)
        measured = Measurement(f"probe_loss/seed_{curve.seed}", curve.last_loss, steps)
        self._context.tracker.measure(candidate.name, [measured])

    def _measure(self, candidate: TrainedCandidate, epoch: float) -> None:
        metric, curves = self._context.metric, candidate.curves
        candidate.scores[epoch] = statistics.fmean(
            metric.score(curve.points, curve.diverged) for curve in curves.values()
        )
        measurements = [Measurement(metric.name, candidate.score, candidate.step)]
        for seed, curve in curves.items():
            measurements += curve_measurements(curve.points, f"/seed_{seed}")
        self._context.tracker.measure(candidate.name, measurements)

    def _end_if_diverged(self, candidate: TrainedCandidate) -> None:
        diverged = [curve for curve in candidate.curves.values() if curve.diverged]
        if not diverged:
            return
        steps = [curve.diverged_at for curve in diverged if curve.diverged_at is not None]
        what = f"loss or weights not finite at step {min(steps)}" if steps else "score not finite"
        self._end(candidate, "diverged", what)

    def _drop_behind(self, standing: Sequence[TrainedCandidate], epoch: float) -> None:
        """End those that are behind the others at a rung, unless they rise so fast that they may yet win.

        The verdict's baseline is never behind.
        """
        for candidate in standing:
            self._table.add(epoch, candidate.candidate.number, candidate.score)
            if self._reserve is not None:
                self._reserve.add(candidate, epoch)
        for candidate in standing:
            if candidate.candidate.scheme != self._baseline and self._is_behind(candidate, epoch):
                reason = f"behind the others at epoch {epoch:g} with {candidate.score:.4g}"
                self._end(candidate, "pruned", reason)
            else:
                candidate.note_passed(epoch)

    def _is_behind(self, candidate: TrainedCandidate, epoch: float) -> bool:
        # A decision of an earlier run stands, whatever has been reported since.
        if candidate.passed(epoch):
            return False
        if candidate.trial is None and candidate.failure_before is None:
            return candidate.was_pruned_here()
        if self._reserve is not None and self._reserve.keep(candidate, epoch):
            return False
        if self._context.settings.search.pruner == "halving":
            return not self._table.keep(epoch, candidate.candidate.number)
        return candidate.trial is not None and candidate.trial.should_prune()

    def _end(self, candidate: TrainedCandidate, status: CandidateStatus, reason: str = "") -> None:
        """End a candidate in Optuna, unless an earlier run did, and in the tracker, unless it may race."""
        candidate.status, candidate.reason = status, reason
        trial = candidate.trial
        if trial is not None:
            trial.set_user_attr(STATUS, status)
            for key, text in ((REASON, reason), (SIGN, candidate.sign)):
                if text:
                    trial.set_user_attr(key, text)
            score = candidate.score if status == "complete" else None
            self._trials.finish(trial, STATES[status], score)
        if status != "complete":
            self._context.tracker.end_candidate(candidate.name, status, reason)


def sign_of(loss: float, start: float, guess: float | None, steps: int) -> str:
    """What a probe shows, in plain words.

    Args:
        loss: Training loss on its last batch.
        start: Training loss on its first batch.
        guess: Training loss of a model that has learned nothing; None if unknown.
        steps: Optimizer steps of the probe.
    """
    losses = f"loss {start:.3g} to {loss:.3g} in {steps} steps"
    if guess is None:
        return losses
    return f"{'learning' if moves(loss, guess) else 'no better than a guess yet'}: {losses}"


def moves(loss: float, guess: float | None) -> bool:
    """Whether a loss is below that of a guess by more than a few percent; true if that is unknown."""
    return guess is None or loss < STILL * guess


def in_order(
    candidates: Sequence[TrainedCandidate], guess: float | None
) -> list[list[TrainedCandidate]]:
    """The candidates in the order in which to train them: those that learn, then the others.

    Args:
        candidates: Candidates after their probe.
        guess: Training loss of a model that has learned nothing; None if unknown.

    Returns:
        One or two groups, none of them empty, each sorted by loss.
    """
    ranked = sorted(candidates, key=lambda candidate: candidate.probe_loss)
    learning = [c for c in ranked if moves(c.probe_loss, guess)]
    others = [c for c in ranked if not moves(c.probe_loss, guess)]
    return [group for group in (learning, others) if group]
