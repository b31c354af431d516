"""The race as it is run: the short list is trained on fresh seeds until the race is decided, then tested."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from initsearch.race import Race, RaceRules
from initsearch.search.context import StudyContext
from initsearch.search.jobs.job_book import Ticket
from initsearch.search.racing.simplicity import simplicity_ranks
from initsearch.search.tracker import curve_measurements
from initsearch.training.job import Candidate, Curve

#: What a test costs, in candidate-epochs: a forward pass takes about a third of a training step.
TEST_WORK = 1 / 3


@dataclass(frozen=True)
class RaceResult:
    """What the race found.

    Attributes:
        race: The race with its scores and decisions.
        curves: Learning curve by candidate's name and seed.
    """

    race: Race
    curves: Mapping[str, Mapping[int, Curve]]

    @property
    def leader(self) -> str:
        """The name of the candidate that the last decision puts first."""
        return self.race.decisions[-1].leader

    @property
    def recommended(self) -> str:
        """The name of the candidate to take; the leader in a race without a baseline."""
        return self.race.decisions[-1].recommended or self.leader


class RaceRunner:
    """Trains the candidates of one study's race, and tests those that the verdict names.

    Args:
        context: The study.
        entrants: The short list.
    """

    def __init__(self, context: StudyContext, entrants: Sequence[Candidate]) -> None:
        self._context = context
        self._entrants = {entrant.name: entrant for entrant in entrants}

    def run(self, baseline: str) -> RaceResult:
        """Train seed after seed until the race is decided.

        Args:
            baseline: The name of the entrant that is trained to the end, since the report shows its gap.
        """
        context, settings = self._context, self._context.settings.race
        race = self._make_race(baseline)
        curves: dict[str, dict[int, Curve]] = {name: {} for name in self._entrants}
        work = settings.max_seeds * len(self._entrants) * context.budgets.full
        context.progress.phase("race", work)
        while race.next_look is not None:
            active, seen, look = race.active, len(race.seeds), race.next_look
            context.progress.training(f"seeds {seen + 1} to {look} of at most {settings.max_seeds}")
            tickets = self._submit(active, range(seen, look), context.budgets.full)
            # While the last seed of a look is trained, the other workers start on the seeds that follow. Those
            # results count once their seeds are due, and are unused if they never are.
            beyond = min(look + max(1, context.settings.workers) - 1, settings.max_seeds)
            ahead = self._submit(active, range(look, beyond), 0.0)
            for seed, ticket in tickets.items():
                race.add_block(seed, self._collect(seed, ticket, active, curves))
            race.decide()
            if race.active != active or race.finished:
                for ticket in ahead.values():
                    context.jobs.withdraw(ticket)
            still_training = 0 if race.finished else len(race.active)
            spared = (len(active) - still_training) * (settings.max_seeds - look)
            context.progress.skip(spared * context.budgets.full)
        return RaceResult(race, curves)

    def test(self, names: Sequence[str], result: RaceResult) -> dict[str, dict[int, float]]:
        """The task's score on the test set, by candidate's name and seed: the only use of the test set.

        Empty if the task has no test set.

        Args:
            names: Candidates of the race.
            result: The race; the weights that it trained are tested.
        """
        context, end = self._context, self._context.budgets.full
        if context.test_score is None:
            return {}
        finished = [
            (name, seed, curve)
            for name in dict.fromkeys(names)
            for seed, curve in result.curves[name].items()
            if not curve.diverged
        ]
        context.progress.phase("test", TEST_WORK * len(finished))
        tickets = {}
        for name, seed, curve in finished:
            job = context.maker.make_test(self._entrants[name], seed, end, curve)
            tickets[name, seed] = context.jobs.submit(job, TEST_WORK)
        scores: dict[str, dict[int, float]] = {name: {} for name in names}
        failures: set[str] = set()
        for (name, seed), ticket in tickets.items():
            outcome = context.jobs.collect(ticket)
            for reason in set(outcome.failed.values()) - failures:
                context.progress.message(f"the test set could not be scored: {reason}")
                failures.add(reason)
            tested = outcome.curves.get(name)
            if tested is not None and tested.test is not None:
                scores[name][seed] = tested.test[context.test_score]
        return scores

    @property
    def rules(self) -> RaceRules:
        """The rules of the race."""
        settings, metric = self._context.settings.race, self._context.metric
        steps = self._context.budgets.steps
        return settings.rules(
            metric.margin(settings.margin),
            higher_is_better=metric.higher_is_better,
            diverged_score=metric.floor(self._context.guess, steps),
            bound=float(steps) if metric.has_bounds else None,
        )

    def _make_race(self, baseline: str) -> Race:
        simplicity = simplicity_ranks(list(self._entrants.values()))
        return Race(list(self._entrants), self.rules, baseline=baseline, simplicity=simplicity)

    def _submit(self, names: Sequence[str], blocks: range, work: float) -> dict[int, Ticket]:
        """Submit candidates on the race's seeds of these indices; tickets by seed."""
        context = self._context
        tickets = {}
        for seed in map(context.settings.race_seed, blocks):
            job = context.maker.make(
                [self._entrants[name] for name in names],
                seed,
                0.0,
                context.budgets.full,
                evaluate=context.budgets.points[:-1],
                exact=True,
            )
            tickets[seed] = context.jobs.submit(job, work)
        return tickets

    def _collect(
        self, seed: int, ticket: Ticket, active: Sequence[str], curves: dict[str, dict[int, Curve]]
    ) -> dict[str, float]:
        """Wait for a seed, keep its curves, and return the scores by name; NaN for a failed training."""
        outcome = self._context.jobs.collect(ticket)
        scores = {}
        for name in active:
            curve = outcome.curves.get(name)
            if curve is None:
                scores[name] = math.nan
                continue
            curves[name][seed] = curve
            scores[name] = self._context.metric.score(curve.points, curve.diverged)
            self._context.tracker.measure(name, curve_measurements(curve.points, f"/seed_{seed}"))
        return scores
