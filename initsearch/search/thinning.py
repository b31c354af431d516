"""The search: candidates are trained in cohorts, compared at rungs, and thinned out.

A candidate goes through stages: the probe, a few steps on one block, then one rung after the other, on all
blocks of the search. Those that leave a cohort at a rung free slots, which the survivors of others fill: what
comes after a rung begins as soon as a whole cohort waits for it, or nobody else can come.

Several cohorts are in training at a time, so that no worker waits for one that others train. They are judged
in the order in which they would be done if each had workers of its own and all candidates took the same time
for an epoch: about the order in which they are done, but one that the number of workers does not change.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import optuna
from optuna.trial import TrialState

from initsearch.search.blocks import has_state, search_seed
from initsearch.search.context import StudyContext
from initsearch.search.jobs import Ticket
from initsearch.search.proposals import Proposals
from initsearch.search.records import Record, curve_measurements
from initsearch.search.rungs import RungTable
from initsearch.search.soft_signs import in_order, sign_of
from initsearch.search.tracker import Measurement


@dataclass(eq=False)
class _Cohort:
    """Candidates between two stages.

    Attributes:
        records: The candidates.
        stage: The stage that they are in.
        tickets: Their jobs.
        due: When it would be done, in candidate-epochs from the start of the search.
    """

    records: list[Record]
    stage: int
    tickets: list[Ticket]
    due: float


class Search:
    """Runs the search of one study; `records` holds what it found, in the order of the trials."""

    def __init__(self, context: StudyContext, study: optuna.Study) -> None:
        settings, budgets = context.settings, context.budgets
        self._context = context
        self._study = study
        # Without a pruner nobody is compared on the way, but learning curves have the same points.
        rungs = budgets.rungs[-1:] if settings.search.pruner == "none" else budgets.rungs
        #: Where each stage ends. Stage 0 is the probe.
        self._ends = (budgets.probe, *rungs)
        self._seeds = [search_seed(settings.seed, i) for i in range(settings.search.seeds)]
        self._table = RungTable(settings.search.reduction_factor, context.metric.higher_is_better)
        self._baseline = next(iter(settings.baselines))
        self._guess = context.guess.get("train_loss")
        self.proposals = Proposals(settings, study)
        self.records: list[Record] = []
        self._twins: list[Record] = []  # those whose first is still in training
        self._waiting: list[list[Record]] = [[] for _ in self._ends]
        self._training: list[_Cohort] = []
        self._clock = 0.0
        self._introduced = 0
        self._has_tracker = False

    def begin(self) -> None:
        """Hand in the first jobs while there is no tracker yet: it hears of their candidates in `run`."""
        total = self.proposals.total * len(self._seeds) * self._context.budgets.full
        self._context.progress.phase("search", total)
        self._start_cohorts()

    def run(self) -> list[Record]:
        """Train until every trial is told."""
        self._has_tracker = True
        self._introduce()
        if not self.records:
            self.begin()
        while self._training:
            cohort = min(self._training, key=lambda cohort: cohort.due)
            self._training.remove(cohort)
            self._clock = cohort.due
            self._collect(cohort)
            self._tell_twins()
            self._start_cohorts()
        self._tell_twins()  # those that were asked for last, of candidates that were done by then
        return self.records

    def _start_cohorts(self) -> None:
        """Have as many cohorts in training as may be: survivors go on first, newcomers fill up."""
        self._form()
        while self._has_more and len(self._training) < self._context.settings.search.open_cohorts:
            self._ask()
            self._form()

    @property
    def _has_more(self) -> bool:
        """Whether there are candidates that have not been asked for."""
        return self.proposals.asked < self.proposals.total

    def _ask(self) -> None:
        records = [Record(proposal) for proposal in self.proposals.ask_bracket()]
        self.records += records
        if self._has_tracker:
            self._introduce()
        for record in records:
            stored = record.proposal.stored
            if stored is not None and stored.state is TrialState.FAIL:
                # What a former run told Optuna stands, though it might go well another time.
                record.status, record.reason = "failed", stored.user_attrs.get("reason", "")
                self._context.progress.skip(self._left(0.0))
            elif record.proposal.twin_of is None:
                self._waiting[0 if self._ends[0] else 1].append(record)
            else:
                self._twins.append(record)
                self._context.progress.skip(self._left(0.0))

    def _introduce(self) -> None:
        """Tell the tracker of the candidates that it has not heard of."""
        for record in self.records[self._introduced :]:
            self._context.tracker.start_candidate(record.proposal.info)
        self._introduced = len(self.records)

    def _form(self) -> None:
        """Start every cohort that is full, or that nobody else can join; newcomers need not wait."""
        size = self._context.settings.search.cohort_size
        for stage, waiting in enumerate(self._waiting):
            coming = self._has_more or any(cohort.stage < stage for cohort in self._training)
            while len(waiting) >= size or (waiting and (stage < 2 or not coming)):
                members, waiting[:] = waiting[:size], waiting[size:]
                self._submit(members, stage)

    def _submit(self, members: Sequence[Record], stage: int) -> None:
        start, stop = self._start(stage), self._ends[stage]
        names = ", ".join(record.proposal.name for record in members)
        self._context.progress.training(f"{names} to epoch {stop:.3g}")
        probed = stage == 1 and self._ends[0] > 0
        groups = in_order(members, self._guess) if probed else [members]
        tickets = []
        seeds = self._seeds[: 1 if stage == 0 else None]
        for seed, group in [(s, part) for g in groups for s in seeds for part in self._parts(g, s)]:
            known = {r.proposal.name: r.curves[seed] for r in group if seed in r.curves}
            begun = start if known else 0.0
            job = self._context.maker.make(
                [record.proposal.candidate for record in group],
                seed,
                begun,
                stop,
                evaluate=[epoch for epoch in self._context.budgets.points if begun < epoch <= stop],
                curves=known,
                keep=stage + 1 < len(self._ends),
                screen=self._context.settings.search.screen,
                measure_stop=stage > 0,
            )
            tickets.append(self._context.jobs.submit(job, stop - begun))
        # A cohort counts as whole: one that lacks a candidate that failed in a former run keeps its place.
        due = self._clock + self._context.settings.search.cohort_size * (stop - start)
        self._training.append(_Cohort(list(members), stage, tickets, due))

    def _parts(self, records: Sequence[Record], seed: int) -> list[list[Record]]:
        """Those whose weights on a block are there to go on from, then those that begin anew; no empty part.

        A stacked cohort stays whole: in another one its members would be rounded otherwise.
        """
        if self._context.maker.stacks:
            return [list(records)]
        stands = [seed in record.curves and has_state(record.curves[seed]) for record in records]
        parts = [
            [record for record, is_kept in zip(records, stands, strict=True) if is_kept is wanted]
            for wanted in (True, False)
        ]
        return [part for part in parts if part]

    def _start(self, stage: int) -> float:
        """Where a stage begins on a block that all stages before have trained on."""
        return self._ends[stage - 1] if stage else 0.0

    def _collect(self, cohort: _Cohort) -> None:
        by_name = {record.proposal.name: record for record in cohort.records}
        for ticket in cohort.tickets:
            outcome = self._context.jobs.collect(ticket)
            for name, curve in outcome.curves.items():
                by_name[name].add(curve)
            for name, reason in outcome.failed.items():
                by_name[name].status, by_name[name].reason = "failed", reason
        self._judge(cohort.records, cohort.stage)
        for record in cohort.records:
            if record.status is None:
                self._waiting[cohort.stage + 1].append(record)
            else:
                done = self._ends[cohort.stage] * (len(self._seeds) if cohort.stage else 1)
                self._context.progress.skip(self._left(done))
                self._end(record)

    def _end(self, record: Record) -> None:
        """Report the end of a candidate that the search dropped; the others may still enter the race."""
        status = record.status
        if status is not None and status != "complete":
            self._context.tracker.end_candidate(record.proposal.name, status, record.reason)

    def _left(self, done: float) -> float:
        """Candidate-epochs that a candidate need not be trained any more."""
        return len(self._seeds) * self._context.budgets.full - done

    def _judge(self, records: Sequence[Record], stage: int) -> None:
        """Say of each candidate what the stage showed, and end those that go no further."""
        epoch = self._ends[stage]
        for record in records:
            if record.status == "failed":
                self._tell(record, TrialState.FAIL)
                continue
            stopped = next((c.stopped for c in record.curves.values() if c.stopped), "")
            if stopped:
                record.status, record.reason = "pruned", f"cannot learn: {stopped}"
                self._tell(record, TrialState.PRUNED)
                continue
            if stage == 0:
                self._note_sign(record)
            else:
                self._measure(record, epoch)
            if any(curve.diverged for curve in record.curves.values()):
                where = min(
                    curve.diverged_at or 0 for curve in record.curves.values() if curve.diverged
                )
                record.status = "diverged"
                record.reason = f"loss or weights not finite at step {where}"
                self._tell(record, TrialState.PRUNED)
            elif stage > 0:
                record.report()
        standing = [record for record in records if record.status is None]
        if stage == len(self._ends) - 1:
            for record in standing:
                record.status = "complete"
                self._tell(record, TrialState.COMPLETE)
        elif stage > 0:
            self._thin_out(standing, epoch)

    def _note_sign(self, record: Record) -> None:
        (curve,) = record.curves.values()
        if curve.diverged or curve.last_loss is None:
            return
        steps = self._context.settings.search.probe_steps
        record.probe_loss = curve.last_loss
        record.sign = sign_of(curve.last_loss, curve.initial_loss, self._guess, steps)
        measured = Measurement(f"probe_loss/seed_{curve.seed}", curve.last_loss, steps)
        self._context.tracker.measure(record.proposal.name, [measured])

    def _thin_out(self, standing: Sequence[Record], epoch: float) -> None:
        """End those that are behind at a rung. The verdict's baseline never is."""
        for record in standing:
            self._table.add(epoch, record.proposal.number, record.score)
        for record in standing:
            if record.proposal.info.scheme != self._baseline and self._is_behind(record, epoch):
                record.status = "pruned"
                record.reason = f"behind the others at epoch {epoch:g} with {record.score:.4g}"
                self._tell(record, TrialState.PRUNED)
            else:
                record.proposal.note_passed(epoch)

    def _is_behind(self, record: Record, epoch: float) -> bool:
        proposal = record.proposal
        # What a former run decided must not be decided anew from what was told since.
        if proposal.passed(epoch):
            return False
        if proposal.trial is None:
            return proposal.pruned_at(record.step)
        if self._context.settings.search.pruner == "halving":
            return not self._table.keep(epoch, proposal.number)
        return bool(proposal.trial.should_prune())

    def _measure(self, record: Record, epoch: float) -> None:
        scores = [self._context.metric.score(c.points, c.diverged) for c in record.curves.values()]
        record.scores[epoch] = statistics.fmean(scores)
        measurements = [Measurement(self._context.metric.name, record.score, record.step)]
        for seed, curve in record.curves.items():
            measurements += curve_measurements(curve.points, f"/seed_{seed}")
        self._context.tracker.measure(record.proposal.name, measurements)

    def _tell(self, record: Record, state: TrialState) -> None:
        trial = record.proposal.trial
        if trial is None:
            return
        trial.set_user_attr("status", record.status)
        for key, text in (("reason", record.reason), ("sign", record.sign)):
            if text:
                trial.set_user_attr(key, text)
        self._study.tell(trial, record.score if state is TrialState.COMPLETE else None, state=state)

    def _tell_twins(self) -> None:
        """A trial that repeats an earlier one takes its result."""
        for record in self._twins:
            first = self.records[record.proposal.twin_of or 0]
            if first.status is None:
                continue
            record.curves, record.scores = first.curves, first.scores
            record.probe_loss, record.sign = first.probe_loss, first.sign
            record.status, record.reason = first.status, f"same as trial {first.proposal.number}"
            if not math.isnan(record.score):
                record.report()
            states = {"complete": TrialState.COMPLETE, "failed": TrialState.FAIL}
            self._tell(record, states.get(first.status, TrialState.PRUNED))
            self._end(record)
        self._twins = [record for record in self._twins if record.status is None]
