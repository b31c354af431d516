"""The search: brackets of candidates, trained together, compared at rungs, and thinned out.

A wave asks for one bracket and takes every earlier one a rung further, in a fixed order. The results that are
waited for are thus always the oldest ones, while the workers have the younger brackets' jobs to do; and what
is decided, and when, does not depend on how many workers there are.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import optuna
from optuna.trial import TrialState

from initsearch.search.blocks import JobMaker, search_seed
from initsearch.search.jobs import JobBook, Ticket
from initsearch.search.metric import Metric
from initsearch.search.progress import Progress
from initsearch.search.proposals import Proposal, Proposals
from initsearch.search.rungs import RungTable
from initsearch.search.settings import StudySettings
from initsearch.search.tracker import CandidateStatus, Measurement, Tracker
from initsearch.training.job import Curve, Point


@dataclass
class Record:
    """What the search found out about one candidate.

    Attributes:
        proposal: The candidate.
        curves: By block seed its learning curve so far.
        scores: By rung (epochs) its score: the mean over the blocks; NaN where it diverged on one.
        status: `complete` when it had the full budget, `pruned`, `diverged` or `failed`; `None` before.
        reason: Why it ended early, in plain words.
    """

    proposal: Proposal
    curves: dict[int, Curve] = field(default_factory=dict)
    scores: dict[float, float] = field(default_factory=dict)
    status: CandidateStatus | None = None
    reason: str = ""

    @property
    def score(self) -> float:
        """Its last score; NaN if it has none."""
        return next(reversed(self.scores.values()), math.nan)

    @property
    def epoch(self) -> float:
        """How far it was trained."""
        return next(reversed(self.scores.keys()), 0.0)

    def report(self, step: int) -> None:
        """Tell Optuna the last score, unless a run that was interrupted has told it."""
        stored = self.proposal.stored
        if self.proposal.trial is not None and (
            stored is None or step not in stored.intermediate_values
        ):
            self.proposal.trial.report(self.score, step)


@dataclass
class _Bracket:
    alive: list[Record]
    rung: int = 0
    tickets: dict[int, Ticket] = field(default_factory=dict)


class Search:
    """Runs the search of one study; `records` holds what it found, in the order of the trials."""

    def __init__(
        self,
        settings: StudySettings,
        study: optuna.Study,
        jobs: JobBook,
        maker: JobMaker,
        metric: Metric,
        rungs: Sequence[float],
        tracker: Tracker,
        progress: Progress,
    ) -> None:
        self._settings = settings
        self._study = study
        self._jobs = jobs
        self._maker = maker
        self._metric = metric
        # Without a pruner nobody is compared on the way, but learning curves have the same points.
        self._rungs = tuple(rungs[-1:] if settings.search.pruner == "none" else rungs)
        self._points = tuple(rungs)
        self._tracker = tracker
        self._progress = progress
        self._table = RungTable(settings.search.reduction_factor, metric.higher_is_better)
        self._baseline = next(iter(settings.baselines))
        self.proposals = Proposals(settings, study)
        self.records: list[Record] = []
        self._twins: list[Record] = []  # those whose first is still in training

    def run(self) -> list[Record]:
        """Train until every trial is told."""
        total = self.proposals.total
        self._progress.phase("search", total * self._settings.search.seeds * self._rungs[-1])
        brackets: list[_Bracket] = []
        while self.proposals.asked < total or brackets:
            asked = self._ask() if self.proposals.asked < total else None
            for bracket in brackets:
                self._advance(bracket)
            brackets = [bracket for bracket in brackets if bracket.alive]
            if asked is not None:
                brackets.append(asked)
            self._tell_twins()
        return self.records

    def _ask(self) -> _Bracket:
        records = [Record(proposal) for proposal in self.proposals.ask_bracket()]
        self.records += records
        self._twins += [record for record in records if record.proposal.twin_of is not None]
        for record in records:
            self._tracker.start_candidate(record.proposal.info)
        bracket = _Bracket([record for record in records if record.proposal.twin_of is None])
        spared = len(records) - len(bracket.alive)
        self._progress.advance(spared * self._settings.search.seeds * self._rungs[-1])
        if bracket.alive:
            self._submit(bracket)
        return bracket

    def _submit(self, bracket: _Bracket) -> None:
        names = ", ".join(record.proposal.name for record in bracket.alive)
        start = self._rungs[bracket.rung - 1] if bracket.rung else 0.0
        stop = self._rungs[bracket.rung]
        self._progress.training(f"{names} to epoch {stop:g}")
        for index in range(self._settings.search.seeds):
            seed = search_seed(self._settings.seed, index)
            job = self._maker.make(
                [record.proposal.candidate for record in bracket.alive],
                seed,
                start,
                stop,
                evaluate=[epoch for epoch in self._points if start < epoch < stop],
                curves={
                    record.proposal.name: record.curves[seed] for record in bracket.alive if start
                },
                keep=bracket.rung + 1 < len(self._rungs),
                screen=self._settings.search.screen,
            )
            bracket.tickets[seed] = self._jobs.submit(job, stop - start)

    def _advance(self, bracket: _Bracket) -> None:
        epoch = self._rungs[bracket.rung]
        for seed, ticket in bracket.tickets.items():
            outcome = self._jobs.collect(ticket)
            for record in bracket.alive:
                name = record.proposal.name
                if name in outcome.failed:
                    record.status, record.reason = "failed", outcome.failed[name]
                else:
                    record.curves[seed] = _joined(record.curves.get(seed), outcome.curves[name])
        self._judge(bracket, epoch)
        left = (self._rungs[-1] - epoch) * self._settings.search.seeds
        ended = [record for record in bracket.alive if record.status is not None]
        self._progress.advance(left * len(ended))
        bracket.alive = [record for record in bracket.alive if record.status is None]
        bracket.rung += 1
        if bracket.alive:
            self._submit(bracket)

    def _judge(self, bracket: _Bracket, epoch: float) -> None:
        """Score each candidate at the rung, tell Optuna and the tracker, and end those that go no further."""
        for record in bracket.alive:
            if record.status == "failed":
                self._tell(record, TrialState.FAIL)
                continue
            stopped = next((c.stopped for c in record.curves.values() if c.stopped), "")
            if stopped:
                record.status, record.reason = "pruned", f"cannot learn: {stopped}"
                self._tell(record, TrialState.PRUNED)
                continue
            self._measure(record, epoch)
            if any(curve.diverged for curve in record.curves.values()):
                where = min(
                    curve.diverged_at or 0 for curve in record.curves.values() if curve.diverged
                )
                record.status, record.reason = (
                    "diverged",
                    f"loss or weights not finite at step {where}",
                )
                self._tell(record, TrialState.PRUNED)
            else:
                record.report(self._step(record))
        last = epoch == self._rungs[-1]
        standing = [record for record in bracket.alive if record.status is None]
        dropped = set() if last else self._dropped(standing, epoch)
        for record in standing:
            if last:
                record.status = "complete"
                self._tell(record, TrialState.COMPLETE)
            elif record.proposal.number in dropped:
                record.status = "pruned"
                record.reason = f"behind the others at epoch {epoch:g} with {record.score:.4g}"
                self._tell(record, TrialState.PRUNED)
            else:
                record.proposal.note_passed(epoch)

    def _dropped(self, standing: Sequence[Record], epoch: float) -> set[int]:
        """Numbers of the candidates that end at this rung. The verdict's baseline never does."""
        for record in standing:
            self._table.add(epoch, record.proposal.number, record.score)
        dropped = set()
        for record in standing:
            proposal = record.proposal
            if proposal.info.scheme == self._baseline:
                continue
            if self._settings.search.pruner == "halving":
                gone = not self._table.keep(epoch, proposal.number)
            elif proposal.passed(epoch):
                # A former run decided this; it must not be decided anew from what was told since.
                gone = False
            elif proposal.trial is not None:
                gone = proposal.trial.should_prune()
            else:
                gone = proposal.pruned_at(self._step(record))
            if gone:
                dropped.add(proposal.number)
        return dropped

    def _measure(self, record: Record, epoch: float) -> None:
        scores = {
            seed: self._metric.score(curve.points, curve.diverged)
            for seed, curve in record.curves.items()
        }
        record.scores[epoch] = statistics.fmean(scores.values())
        step = self._step(record)
        measurements = [Measurement(self._metric.name, record.score, step)]
        for seed, curve in record.curves.items():
            measurements += curve_measurements(curve.points, f"/seed_{seed}")
        self._tracker.measure(record.proposal.name, measurements)

    def _step(self, record: Record) -> int:
        return max((c.points[-1].step for c in record.curves.values() if c.points), default=0)

    def _tell(self, record: Record, state: TrialState) -> None:
        trial = record.proposal.trial
        if trial is None:
            return
        trial.set_user_attr("status", record.status)
        if record.reason:
            trial.set_user_attr("reason", record.reason)
        self._study.tell(trial, record.score if state is TrialState.COMPLETE else None, state=state)

    def _tell_twins(self) -> None:
        """A trial that repeats an earlier one takes its result."""
        for record in self._twins:
            first = self.records[record.proposal.twin_of or 0]
            if first.status is None:
                continue
            record.curves, record.scores = first.curves, first.scores
            record.status, record.reason = first.status, f"same as trial {first.proposal.number}"
            if not math.isnan(record.score):
                record.report(self._step(record))
            states = {"complete": TrialState.COMPLETE, "failed": TrialState.FAIL}
            self._tell(record, states.get(first.status, TrialState.PRUNED))
        self._twins = [record for record in self._twins if record.status is None]


def curve_measurements(points: Sequence[Point], suffix: str) -> list[Measurement]:
    """A learning curve as the tracker takes it."""
    return [
        Measurement(f"{key}{suffix}", getattr(point, key), point.step)
        for point in points
        for key in ("val_accuracy", "val_loss", "train_loss")
    ]


def _joined(before: Curve | None, after: Curve) -> Curve:
    """A learning curve and its continuation as one."""
    if before is None:
        return after
    return replace(after, points=before.points + after.points, initial_loss=before.initial_loss)
