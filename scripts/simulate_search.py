"""How often the search loses its best candidate if that one starts slowly: made-up curves, the real search.

    python scripts/simulate_search.py --studies 40

In each simulated study one candidate is the best at full budget, by 0.8 points, but starts slowly. The others
include some that start slowly and end worse, and some that hardly learn. Rows are spaces and paces of the best
candidate. Columns are remedies: the share of studies in which the best candidate entered the race, and the cost
of the search relative to that without a remedy.

The shapes of the curves were measured: digits (300 training images), an MLP with two ReLU layers of 32 units,
SGD with a rate of 0.01 and momentum 0.9, 16 epochs, three seeds.
"""

import argparse
import contextlib
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from initsearch.digests import seed_of
from initsearch.execution import SerialExecutor
from initsearch.layers import Slot
from initsearch.plan import InitPlan
from initsearch.search import Study, StudySettings, search_loop
from initsearch.search.candidates import TrainedCandidate
from initsearch.search.pruning import Judge
from initsearch.search.settings import RaceSettings, SearchSettings
from initsearch.space import Space
from initsearch.study_run import Quiet
from initsearch.tasks import Measured, TaskInfo
from initsearch.tracking import TrackerGroup
from initsearch.training import TrainerSettings

#: Where the shapes were measured, as shares of the full budget, and validation accuracy there (%).
SHARES = (1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
SHAPES = {
    "he_normal": (17.6, 28.4, 42.7, 67.7, 83.7, 90.5, 92.7),
    "zero head": (21.9, 26.2, 35.9, 56.6, 78.5, 88.6, 91.5),
    "quarter of He's variance": (12.3, 14.7, 27.7, 45.0, 71.0, 87.2, 93.4),
    "tenth of He's variance": (12.1, 12.2, 17.4, 39.3, 46.9, 73.9, 90.9),
}
FAST, *SLOW = SHAPES
GUESS = 10.0
GAIN = 0.8  # of the best candidate, in points
NOISE = 0.5  # of one seed, in points: a validation set of 2000 images
FULL, STEPS = 4.0, 64
#: A pass over 2000 validation images in epochs over 8000 training images; a forward pass is a third of a step.
VALIDATION = 2000 / 3 / 8000
FAMILIES, PER_FAMILY, PLANS = 5, 3, 12


@dataclass(frozen=True)
class Truth:
    """A candidate's learning curve without noise.

    Attributes:
        shape: A key of `SHAPES`.
        final: Accuracy at full budget, in percent.
        speed: Factor on the budget.
    """

    shape: str
    final: float
    speed: float = 1.0

    def accuracy(self, share: float) -> float:
        """Accuracy at a share of the full budget, in percent."""
        shape = SHAPES[self.shape]
        at = np.interp(math.log(min(1.0, share * self.speed)), np.log(SHARES), shape)
        return float(GUESS + (at - GUESS) * (self.final - GUESS) / (shape[-1] - GUESS))


@dataclass(frozen=True)
class CurvesTask:
    """A `StandaloneTask` that reads off made-up curves.

    Attributes:
        truths: Curve by the plan's text.
        number: Of the simulated study.
    """

    truths: Mapping[str, Truth]
    number: int
    lr: None = field(default=None, init=False)

    def key(self) -> dict[str, Any]:
        """The number."""
        return {"simulated": self.number}

    def info(self) -> TaskInfo:
        """Accuracies, of ten classes."""
        guess = {"val_accuracy": GUESS / 100}
        return TaskInfo("simulated", "simulated", "", {}, guess, STEPS, None)

    def pinned(self) -> "CurvesTask":
        """The task itself."""
        return self

    def slots(self) -> list[Slot]:
        """No model."""
        return []

    def train(self, plan: InitPlan, seed: int, budgets: Sequence[float]) -> list[Measured]:
        """The curve at these budgets, with noise."""
        text = repr(plan.spec())
        measured = []
        for budget in budgets:
            rng = np.random.default_rng(seed_of(f"{self.number} {text} {seed} {budget}"))
            accuracy = self.truths[text].accuracy(budget / FULL) + NOISE * rng.normal()
            measured.append(Measured(budget, {"val_accuracy": accuracy / 100}))
        return measured


class FamilyPlaces(Judge):
    """A place at every rung for the best candidate of each scheme so far."""

    def _drop_behind(self, standing: Sequence[TrainedCandidate], epoch: float) -> None:
        best = self.__dict__.setdefault("_best", {})
        for candidate in standing:
            place = (epoch, candidate.candidate.scheme)
            best[place] = max(best.get(place, -math.inf), candidate.score)
        super()._drop_behind(standing, epoch)

    def _is_behind(self, candidate: TrainedCandidate, epoch: float) -> bool:
        best = self.__dict__["_best"][epoch, candidate.candidate.scheme]
        return candidate.score < best and super()._is_behind(candidate, epoch)


class Brackets(Judge):
    """Every third candidate is trained to the end, as in Hyperband's last bracket."""

    def _is_behind(self, candidate: TrainedCandidate, epoch: float) -> bool:
        return candidate.candidate.number % 3 != 2 and super()._is_behind(candidate, epoch)


@dataclass(frozen=True)
class Remedy:
    """Settings of the search, and what judges its candidates."""

    search: Mapping[str, Any]
    judge: type[Judge] = Judge


REMEDIES = {
    "none": Remedy({"reserve": 0}),
    "first_rung=0.5": Remedy({"reserve": 0, "first_rung": 0.5}),
    "brackets": Remedy({"reserve": 0}, Brackets),
    "families": Remedy({"reserve": 0}, FamilyPlaces),
    "reserve=1/8": Remedy({"reserve": 0.125}),
    "reserve=1/4": Remedy({"reserve": 0.25}),
}

#: A space, and its plans by the family that they belong to.
Layout = tuple[Mapping[str, Any], list[list[str]]]


def families() -> Layout:
    """Five schemes with three values each."""
    fields = {
        "normal": "std",
        "uniform": "limit",
        "truncated_normal": "std",
        "orthogonal": "gain",
        "constant": "value",
    }
    values = [0.1 * (number + 1) for number in range(PER_FAMILY)]
    weight = {name: {of: values} for name, of in fields.items()}
    plans = [
        [
            _text({"rules": [{"weight": {"name": name, of: value}, "bias": "zeros"}]})
            for value in values
        ]
        for name, of in fields.items()
    ]
    return {"groups": {"all": {"weight": weight}}}, plans


def single_plans() -> Layout:
    """Twelve plans, each a scheme of its own."""
    specs = {f"plan {n}": {"name": "normal", "std": 0.1 * (n + 1)} for n in range(PLANS)}
    return {"plans": specs}, [[_text(spec)] for spec in specs.values()]


def _text(spec: str | Mapping[str, Any]) -> str:
    return repr(InitPlan.from_spec(spec).spec())


def make_truths(plans: list[list[str]], pace: str, rng: np.random.Generator) -> dict[str, Truth]:
    """Curves of a study; the first entry is the best candidate, whose family shares its pace."""
    chosen = int(rng.integers(len(plans)))
    truths: dict[str, Truth] = {}
    for number, family in enumerate(plans):
        level = 93.0 - rng.exponential(0.7)
        for plan in family:
            final = level - abs(rng.normal(0.0, 0.4))
            kind = rng.random()
            if number == chosen:
                truths[plan] = Truth(pace, final)
            elif kind < 0.12:
                truths[plan] = Truth(FAST, 30.0)
            elif kind < 0.35:
                truths[plan] = Truth(str(rng.choice(SLOW)), final - rng.exponential(1.5))
            else:
                truths[plan] = Truth(FAST, final, math.exp(rng.normal(0.0, 0.15)))
    best = str(rng.choice(plans[chosen]))
    level = max(truth.final for plan, truth in truths.items() if plan != best)
    return {best: Truth(pace, level + GAIN), **{p: t for p, t in truths.items() if p != best}}


def simulate(layout: Layout, pace: str, remedy: Remedy, number: int) -> tuple[bool, float]:
    """Whether the best candidate entered the race of one study, and what the search cost in epochs."""
    space, plans = layout
    truths = make_truths(plans, pace, np.random.default_rng([number, SLOW.index(pace)]))
    best = next(iter(truths))
    truths[_text("he_normal")] = Truth(FAST, 91.0)
    with (
        _study(space, CurvesTask(truths, number), remedy) as study,
        SerialExecutor() as executor,
        mock.patch.object(search_loop, "Judge", remedy.judge),
    ):
        verdict = study.run(executor)
    entered = any(repr(dict(one.plan)) == best for one in verdict.candidates)
    search = study.settings.search
    rows = verdict.evidence.search
    early = VALIDATION * len(rows) * (search.reserve > 0)
    return entered, search.seeds * (sum(row.epoch for row in rows) + early)


@contextlib.contextmanager
def _study(space: Mapping[str, Any], task: CurvesTask, remedy: Remedy) -> Iterator[Study]:
    with tempfile.TemporaryDirectory() as folder:
        settings = StudySettings(
            name="simulated",
            architecture="made-up",
            task=task,
            trainer=TrainerSettings(engine="loop", autocast="none", channels_last=False),
            space=Space.from_spec(space),
            output_dir=Path(folder),
            baselines={"he_normal": "he_normal"},
            n_trials=1 + len(task.truths),
            max_epochs=FULL,
            search=SearchSettings(**remedy.search),
            race=RaceSettings(max_seeds=2, looks=(2,)),
        )
        with contextlib.closing(TrackerGroup(lambda: [])) as tracker:
            yield Study(settings, tracker, Quiet())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=40, help="per cell (default: 40)")
    options = parser.parse_args()
    spaces: dict[str, Callable[[], Layout]] = {
        f"{FAMILIES} schemes of {PER_FAMILY}": families,
        f"{PLANS} plans": single_plans,
    }
    widths = [16, 26, *(len(REMEDIES) * [17])]
    head = ["space", "the best starts as", *REMEDIES]
    print("".join(cell.ljust(width) for cell, width in zip(head, widths, strict=True)))
    for name, layout in spaces.items():
        for pace in SLOW:
            cells, plain = [name, pace], 0.0
            for remedy in REMEDIES.values():
                found = [simulate(layout(), pace, remedy, n) for n in range(options.studies)]
                share, cost = (float(np.mean(column)) for column in zip(*found, strict=True))
                plain = plain or cost
                cells.append(f"{100 * share:.0f} % at {cost / plain:.2f}")
            row = "".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
            print(row, flush=True)


if __name__ == "__main__":
    main()
