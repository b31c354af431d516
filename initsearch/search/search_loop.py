"""The search: candidates are trained in cohorts, compared at rungs, and the weaker ones dropped.

A candidate goes through stages: the probe, a few steps on one seed, then one rung after the other, on all seeds
of the search. Candidates that are dropped at a rung free slots, which the survivors of other cohorts fill: a
stage begins as soon as a whole cohort waits for it, or no further candidate can join.

Several cohorts are in training at a time, so that all workers are busy. They are judged in the order in which
they would finish if each had workers of its own and all candidates took the same time for an epoch. This is
about the order in which they do finish, but does not depend on the number of workers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from initsearch.search.candidates import TrainedCandidate
from initsearch.search.context import StudyContext
from initsearch.search.jobs.job_book import Ticket
from initsearch.search.jobs.job_maker import has_state
from initsearch.search.proposals import Proposals
from initsearch.search.pruning import Judge, in_order
from initsearch.search.trials import TrialStore


@dataclass(eq=False)
class _Cohort:
    """Candidates in training for one stage.

    Attributes:
        members: The candidates.
        stage: The stage.
        tickets: Their jobs.
        due: When it would finish, in candidate-epochs from the start of the search.
    """

    members: list[TrainedCandidate]
    stage: int
    tickets: list[Ticket]
    due: float


class SearchLoop:
    """The search of one study, from the first cohorts (`start`) to the last (`finish`).

    Attributes:
        candidates: All candidates asked for so far, by number.
    """

    def __init__(self, context: StudyContext, trials: TrialStore) -> None:
        settings, budgets = context.settings, context.budgets
        self._context = context
        self._judge = Judge(context, trials)
        # Without a pruner there is one stage of training; learning curves have the same points.
        rungs = budgets.rungs[-1:] if settings.search.pruner == "none" else budgets.rungs
        #: Where each stage ends. Stage 0 is the probe.
        self._ends = (budgets.probe, *rungs)
        self._seeds = settings.search_seeds
        self._proposals = Proposals(settings, trials, context.slots)
        self.candidates: list[TrainedCandidate] = []
        self._twins: list[TrainedCandidate] = []  # whose first is still in the search
        self._waiting: list[list[TrainedCandidate]] = [[] for _ in self._ends]
        self._training: list[_Cohort] = []
        self._clock = 0.0

    @classmethod
    def start(cls, context: StudyContext, trials: TrialStore) -> Self:
        """A search whose first cohorts are in training."""
        search = cls(context, trials)
        total = search._proposals.total * len(search._seeds) * context.budgets.full
        context.progress.phase("search", total)
        search._start_cohorts()
        return search

    def finish(self) -> list[TrainedCandidate]:
        """Train until every candidate has ended; returns them by number."""
        while self._training:
            cohort = min(self._training, key=lambda cohort: cohort.due)
            self._training.remove(cohort)
            self._clock = cohort.due
            self._collect(cohort)
            self._end_twins()
            self._start_cohorts()
        self._end_twins()  # those asked for last, whose first had ended by then
        self._report_twins()
        return self.candidates

    def _start_cohorts(self) -> None:
        """Start as many cohorts as may be in training at a time: survivors first, then new candidates."""
        self._form_cohorts()
        open_cohorts = self._context.settings.search.open_cohorts
        while self._has_more and len(self._training) < open_cohorts:
            self._ask()
            self._form_cohorts()

    @property
    def _has_more(self) -> bool:
        """Whether there are candidates that have not been asked for."""
        return self._proposals.asked < self._proposals.total

    def _ask(self) -> None:
        new = self._proposals.ask_bracket()
        self.candidates += new
        for candidate in new:
            self._context.tracker.start_candidate(candidate.candidate)
        for candidate in new:
            failure = candidate.failure_before
            if failure is not None and self._stands(candidate):
                candidate.status, candidate.reason = "failed", failure
                self._context.progress.skip(self._left(0.0))
            elif candidate.candidate.twin_of is None:
                self._waiting[0 if self._ends[0] else 1].append(candidate)
            else:
                self._twins.append(candidate)
                self._context.progress.skip(self._left(0.0))

    def _stands(self, candidate: TrainedCandidate) -> bool:
        """Whether a failure in an earlier run stands; what took too long depends on the limit of this run.

        Any other failure stands, though it might not repeat itself.
        """
        twin, overran = candidate.candidate.twin_of, self._context.jobs.overran
        first = candidate if twin is None else self.candidates[twin]
        return first.name not in overran

    def _form_cohorts(self) -> None:
        """Start every cohort that is full or that no further candidate can join; new candidates do not wait."""
        size = self._context.settings.search.cohort_size
        for stage, waiting in enumerate(self._waiting):
            coming = self._has_more or any(cohort.stage < stage for cohort in self._training)
            while len(waiting) >= size or (waiting and (stage < 2 or not coming)):
                members, waiting[:] = waiting[:size], waiting[size:]
                self._submit(members, stage)

    def _submit(self, members: Sequence[TrainedCandidate], stage: int) -> None:
        start, stop = self._start_of(stage), self._ends[stage]
        names = ", ".join(member.name for member in members)
        self._context.progress.training(f"{names} to epoch {stop:.3g}")
        probed = stage == 1 and self._ends[0] > 0
        groups = (
            in_order(members, self._context.guess.get("train_loss")) if probed else [list(members)]
        )
        seeds = self._seeds[: 1 if stage == 0 else None]
        tickets = [
            self._submit_part(part, seed, stage)
            for group in groups
            for seed in seeds
            for part in self._parts(group, seed)
        ]
        # A cohort counts as whole: one that lacks a candidate that failed in an earlier run keeps its place.
        due = self._clock + self._context.settings.search.cohort_size * (stop - start)
        self._training.append(_Cohort(list(members), stage, tickets, due))

    def _submit_part(self, part: Sequence[TrainedCandidate], seed: int, stage: int) -> Ticket:
        """Submit one job of a cohort's stage: candidates that all resume on a seed, or all start there."""
        stop, budgets = self._ends[stage], self._context.budgets
        points = sorted({*budgets.points, budgets.early})
        known = {member.name: member.curves[seed] for member in part if seed in member.curves}
        start = self._start_of(stage) if known else 0.0
        job = self._context.maker.make(
            [member.candidate for member in part],
            seed,
            start,
            stop,
            evaluate=[epoch for epoch in points if start < epoch <= stop],
            curves=known,
            keep=stage + 1 < len(self._ends),
            screen=self._context.settings.search.screen,
            measure_stop=stage > 0,
        )
        return self._context.jobs.submit(job, stop - start)

    def _parts(
        self, group: Sequence[TrainedCandidate], seed: int
    ) -> list[Sequence[TrainedCandidate]]:
        """Candidates whose training can resume on a seed, then those that start from scratch; none empty.

        A stacked cohort stays whole: in another one its members would be rounded differently.
        """
        if self._context.maker.stacks:
            return [group]
        resume = [m for m in group if seed in m.curves and has_state(m.curves[seed])]
        start = [member for member in group if member not in resume]
        return [part for part in (resume, start) if part]

    def _start_of(self, stage: int) -> float:
        """Where a stage begins on a seed that all stages before have trained on."""
        return self._ends[stage - 1] if stage else 0.0

    def _collect(self, cohort: _Cohort) -> None:
        """Wait for a cohort's results and judge them; survivors wait for the next stage."""
        by_name = {member.name: member for member in cohort.members}
        for ticket in cohort.tickets:
            failed = {m.name: m.reason for m in cohort.members if m.status == "failed"}
            outcome = self._context.jobs.collect(ticket, failed)
            for name, curve in outcome.curves.items():
                by_name[name].add(curve)
            for name, reason in outcome.failed.items():
                by_name[name].status, by_name[name].reason = "failed", reason
        stage, end = cohort.stage, self._ends[cohort.stage]
        if stage == 0:
            self._judge.after_probe(cohort.members)
        else:
            self._judge.at_rung(cohort.members, end, last=stage == len(self._ends) - 1)
        for member in cohort.members:
            if member.status is None:
                self._waiting[stage + 1].append(member)
            else:
                done = end * (len(self._seeds) if stage else 1)
                self._context.progress.skip(self._left(done))

    def _left(self, done: float) -> float:
        """Candidate-epochs of the full budget that a candidate that ends now does not need."""
        return len(self._seeds) * self._context.budgets.full - done

    def _report_twins(self) -> None:
        twins = sum(each.candidate.twin_of is not None for each in self.candidates)
        if twins:
            total = len(self.candidates)
            self._context.progress.message(
                f"{total - twins} distinct candidates of {total}: the rest draw the same weights as an earlier "
                "one at the same learning rate, and were not trained"
            )

    def _end_twins(self) -> None:
        """End the candidates that repeat one that has ended by now."""
        for twin in self._twins:
            self._judge.repeat(twin, self.candidates[twin.candidate.twin_of or 0])
        self._twins = [twin for twin in self._twins if twin.status is None]
