"""The race as it is run: blocks are trained for the short list until the race is decided."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from initsearch.race.race import Race
from initsearch.search.blocks import race_seed
from initsearch.search.context import StudyContext
from initsearch.search.jobs import Ticket
from initsearch.search.metric import Metric
from initsearch.search.records import Record, curve_measurements
from initsearch.search.tracker import CandidateStatus
from initsearch.training.job import Candidate, Curve

#: What a test costs, in candidate-epochs: a forward pass takes about a third of a training step.
TEST_WORK = 1 / 3


@dataclass
class RaceResult:
    """What the race found.

    Attributes:
        race: The race with its scores and decisions.
        curves: By candidate and block seed.
    """

    race: Race
    curves: dict[str, dict[int, Curve]]


def shortlist(records: Sequence[Record], baseline: str, metric: Metric, size: int) -> list[Record]:
    """The best candidate of each scheme that had the full budget, best first, and the baseline.

    Where that is a single one, the best of those that were pruned joins it: to have been behind at a rung
    is not to be beaten.

    Args:
        records: What the search found.
        baseline: The baseline's scheme.
        metric: Gives the direction.
        size: Schemes at most, the baseline not counted.
    """
    best: dict[str, Record] = {}
    for record in _ranked(records, "complete", metric):
        best.setdefault(record.proposal.info.scheme, record)
    rivals = [record for scheme, record in best.items() if scheme != baseline][:size]
    entrants = [r for s, r in best.items() if s == baseline or any(r is rival for rival in rivals)]
    if baseline not in best:
        # A baseline that diverged in the search races all the same: its failure is part of the answer.
        missing = (r for r in records if r.proposal.info.scheme == baseline)
        entrants += [record for record in missing if record.status != "failed"][:1]
    if len(entrants) == 1:
        present = entrants[0].proposal.info.scheme
        pruned = _ranked(records, "pruned", metric)
        entrants += [record for record in pruned if record.proposal.info.scheme != present][:1]
    return entrants


def _ranked(records: Sequence[Record], status: CandidateStatus, metric: Metric) -> list[Record]:
    """Those that ended so, those that got furthest first and the best of them first; twins left out."""
    sign = -1 if metric.higher_is_better else 1
    return sorted(
        (r for r in records if r.status == status and r.proposal.twin_of is None),
        key=lambda record: (-record.epoch, sign * record.score, record.proposal.number),
    )


class Confirmation:
    """Runs the race of one study."""

    def __init__(self, context: StudyContext) -> None:
        self._context = context

    def run(self, entrants: Sequence[Record], baseline: str) -> RaceResult:
        """Train block after block until the race is decided.

        Args:
            entrants: The short list.
            baseline: The name of the entrant that the report needs to the end.
        """
        settings = self._context.settings.race
        candidates = {r.proposal.name: r.proposal.candidate for r in entrants}
        metric, steps = self._context.metric, self._context.budgets.steps
        rules = settings.rules(
            metric.margin(settings.margin),
            higher_is_better=metric.higher_is_better,
            diverged_score=metric.floor(self._context.guess, steps),
            bound=float(steps) if metric.has_bounds else None,
        )
        race = Race(list(candidates), rules, protected=(baseline,))
        self._context.progress.phase(
            "race", settings.max_seeds * len(candidates) * self._context.budgets.full
        )
        curves: dict[str, dict[int, Curve]] = {name: {} for name in candidates}
        while race.next_look is not None:
            active, told, look = race.active, len(race.seeds), race.next_look
            trained = [candidates[name] for name in active]
            self._context.progress.training(
                f"blocks {told + 1} to {look} of at most {settings.max_seeds}"
            )
            tickets = self._submit(trained, range(told, look), self._context.budgets.full)
            # So that no worker waits for the last of a look, all but one begin with the blocks that follow.
            # What they find counts once those blocks are due, and for nothing if they never are.
            beyond = min(look + self._context.settings.workers - 1, settings.max_seeds)
            ahead = self._submit(trained, range(look, beyond), 0.0)
            for seed, ticket in tickets.items():
                race.add_block(seed, self._collect(seed, ticket, active, curves))
            race.decide()
            if race.active != active or race.finished:
                for ticket in ahead.values():
                    self._context.jobs.withdraw(ticket)
            going_on = 0 if race.finished else len(race.active)
            spared = (len(active) - going_on) * (settings.max_seeds - look)
            self._context.progress.skip(spared * self._context.budgets.full)
        return RaceResult(race, curves)

    def _submit(
        self, candidates: Sequence[Candidate], blocks: range, work: float
    ) -> dict[int, Ticket]:
        seeds = [race_seed(self._context.settings.seed, index) for index in blocks]
        return {
            seed: self._context.jobs.submit(
                self._context.maker.make(
                    candidates,
                    seed,
                    0.0,
                    self._context.budgets.full,
                    evaluate=self._context.budgets.points[:-1],
                    exact=True,
                ),
                work,
            )
            for seed in seeds
        }

    def _collect(
        self, seed: int, ticket: Ticket, active: Sequence[str], curves: dict[str, dict[int, Curve]]
    ) -> dict[str, float]:
        outcome = self._context.jobs.collect(ticket)
        measured = {}
        for name in active:
            curve = outcome.curves.get(name)
            if curve is None:
                measured[name] = math.nan
                continue
            curves[name][seed] = curve
            measured[name] = self._context.metric.score(curve.points, curve.diverged)
            self._context.tracker.measure(name, curve_measurements(curve.points, f"/seed_{seed}"))
        return measured

    def test(
        self, names: Sequence[str], entrants: Sequence[Record], result: RaceResult
    ) -> dict[str, dict[int, float]]:
        """The task's score on the test set, by candidate and block seed: the one time that it is touched."""
        candidates = {r.proposal.name: r.proposal.candidate for r in entrants}
        end = self._context.budgets.full
        through = [
            (name, seed, curve)
            for name in names
            for seed, curve in result.curves[name].items()
            if not curve.diverged
        ]
        self._context.progress.phase("test", TEST_WORK * len(through))
        tickets = {
            (name, seed): self._context.jobs.submit(
                self._context.maker.make_test(candidates[name], seed, end, curve), TEST_WORK
            )
            for name, seed, curve in through
        }
        scores: dict[str, dict[int, float]] = {name: {} for name in names}
        for (name, seed), ticket in tickets.items():
            tested = self._context.jobs.collect(ticket).curves.get(name)
            if tested is not None and tested.test is not None:
                scores[name][seed] = tested.test[self._context.test_score]
        return scores
