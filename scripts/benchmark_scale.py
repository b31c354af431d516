"""Measure whether the cost per candidate grows over a study of 10,000 candidates.

A whole study runs as on the command line (proposals, rungs, journal storage, saved results, race),
but its executor trains nothing and returns made-up curves at once. The remaining cost per candidate is
that of initsearch and Optuna. It is timed per thousand candidates, and the last thousand is compared
with the first: a ratio near 1 means that the cost does not grow. The interval is a bootstrap over
stretches of 20 candidates.

The random sampler has a constant cost, so it shows the cost of initsearch. The cost of TPE grows with
the number of trials that it models. TPE and MLflow are measured separately, on fewer candidates.

    python scripts/benchmark_scale.py --output /tmp/scale
"""

import argparse
import cProfile
import itertools
import math
import pstats
import random
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from benchmarking import Cost, cpus, now, parser, publish, ratio_of_means, table, walls

from initsearch.execution import JobExecutor
from initsearch.search.settings import RaceSettings, SearchSettings, StudySettings
from initsearch.search.study import Study
from initsearch.search.tracker import (
    CandidateStatus,
    Measurement,
    StudyInfo,
    Tracker,
)
from initsearch.search.verdict import Verdict
from initsearch.space import Space
from initsearch.tasks import DataSettings, ImageClassification, ModelSettings, OptimizerSettings
from initsearch.tracking import MlflowTracker, TrackerGroup
from initsearch.training import (
    Candidate,
    CohortResult,
    Curve,
    Point,
    TestJob,
    TrainerSettings,
    TrainJob,
)

STRETCH = 20  # candidates per stretch that is timed
SPACE = {
    "lr": {"low": 0.01, "high": 0.1, "log": True},
    "groups": {
        "relu": {
            "where": {"activation": "relu"},
            "weight": {
                "variance_scaling": {
                    "factor": {"low": 0.1, "high": 10.0, "log": True},
                    "mode": ["fan_in", "fan_out", "fan_avg"],
                    "distribution": ["uniform", "normal", "truncated_normal"],
                },
                "orthogonal": {"gain": {"low": 0.3, "high": 3.0, "log": True}},
                "normal": {"std": {"low": 0.01, "high": 0.3, "log": True}},
            },
        }
    },
}


class Oracle(JobExecutor):
    """Trains nothing: returns curves made up from names, seed and epoch."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """A future that is already done."""
        future: Future[Any] = Future()
        future.set_result(_made_up(args[0]))
        return future


def _made_up(job: TrainJob | TestJob) -> CohortResult:
    return CohortResult(
        curves=tuple(_curve(job, candidate) for candidate in job.candidates),
        wall_seconds=0.0,
        cpu_seconds=0.0,
        engine="loop",
        reason="made up",
        device="cpu",
    )


def _curve(job: TrainJob | TestJob, candidate: Candidate) -> Curve:
    if isinstance(job, TestJob):
        return Curve(candidate.name, job.seed, (), 2.3, test={"test_accuracy": 0.9})
    quality = random.Random(candidate.name).random()
    noise = random.Random(f"{candidate.name} {job.seed}").gauss(0.0, 0.01)
    points = []
    for epoch in job.points:
        accuracy = 0.9 + 0.05 * quality + noise - 0.1 * math.exp(-epoch)
        scores = {"val_accuracy": accuracy, "val_loss": 1 - accuracy}
        points.append(Point(epoch, round(100 * epoch), 1 - accuracy, scores))
    return Curve(candidate.name, job.seed, tuple(points), 2.3)


class Stopwatch:
    """A tracker that records when each candidate starts, and a progress display that shows nothing."""

    def __init__(self) -> None:
        self.starts: list[Cost] = []
        self.searched = self.ended = Cost(0.0, 0.0)

    def start_study(self, study: StudyInfo) -> None:
        """Nothing to keep."""

    def start_candidate(self, candidate: Candidate) -> None:
        """Record the time."""
        self.starts.append(now())

    def measure(self, candidate: str, measurements: Sequence[Measurement]) -> None:
        """Nothing to keep."""

    def end_candidate(self, candidate: str, status: CandidateStatus, reason: str) -> None:
        """Nothing to keep."""

    def end_study(self, verdict: Verdict) -> None:
        """Record the end of the study."""
        self.ended = now()

    def close(self) -> None:
        """Nothing to close."""

    def plan(self, work: Mapping[str, float]) -> None:
        """Nothing to show."""

    def phase(self, name: str, total: float) -> None:
        """Record the end of the search."""
        if name == "race":
            self.searched = now()

    def training(self, what: str) -> None:
        """Nothing to show."""

    def advance(self, amount: float) -> None:
        """Nothing to show."""

    def skip(self, amount: float) -> None:
        """Nothing to show."""

    def message(self, text: str) -> None:
        """Nothing to show."""


def cost_per_candidate(
    sampler: str,
    candidates: int,
    mlflow: bool = False,
    place: Path | None = None,
    profile: cProfile.Profile | None = None,
) -> tuple[list[Cost], Cost]:
    """Run a study of made-up curves.

    Returns:
        The cost per candidate of each stretch, and the cost of everything after the search.
    """
    watch = Stopwatch()
    with tempfile.TemporaryDirectory(dir=place) as folder:
        trackers: list[Tracker] = [MlflowTracker.in_folder(folder)] if mlflow else []
        settings = StudySettings(
            name="scale",
            architecture="mlp",
            task=ImageClassification(
                data=DataSettings(name="digits"),
                model=ModelSettings.parse("model", {"name": "mlp", "width": 8, "depth": 1}),
                optimizer=OptimizerSettings(name="sgd", lr=0.05),
            ),
            trainer=TrainerSettings(engine="loop", autocast="none", channels_last=False),
            space=Space.from_spec(SPACE),
            output_dir=Path(folder),
            n_trials=candidates,
            search=SearchSettings(sampler=sampler),
            race=RaceSettings(max_seeds=4),
        )
        with closing(TrackerGroup(lambda: [*trackers, watch])) as tracker, Oracle() as executor:
            study = Study(settings, tracker, watch)
            if profile is not None:
                profile.enable()
            study.run(executor)
            if profile is not None:
                profile.disable()
    times = [*watch.starts[::STRETCH], watch.searched]
    stretches = [b.since(a).times(1 / STRETCH) for a, b in itertools.pairwise(times)]
    return stretches, watch.ended.since(watch.searched)


def report(costs: Sequence[Cost], after: Cost, part: int) -> str:
    """Milliseconds per candidate by part of the study, and the ratio of the last part to the first."""
    size = part // STRETCH
    parts = [costs[at : at + size] for at in range(0, len(costs) - size + 1, size)]
    rows = []
    for number, each in enumerate(parts):
        wall, cpu = (1000 * np.asarray(values) for values in (walls(each), cpus(each)))
        spread = [f"{value:.3g}" for value in np.quantile(wall, [0.1, 0.9])]
        first = number * part + 1
        rows.append(
            (f"{first} to {first + part - 1}", wall.mean(), " to ".join(spread), cpu.mean())
        )
    found = table(("candidates", "wall ms each", "10% to 90%", "CPU ms each"), rows)
    ratios = [ratio_of_means(of(parts[-1]), of(parts[0])) for of in (walls, cpus)]
    return (
        f"{found}\n\nLast {part} over first {part}: {ratios[0]} of the wall time, "
        f"{ratios[1]} of the CPU time. Everything after the search (race, verdict, records): "
        f"{after.wall:.1f} s."
    )


def main() -> None:
    """Time the studies and print the cost of each thousand candidates."""
    arguments_of = parser(__doc__)
    arguments_of.add_argument("--candidates", type=int, default=10_000, help="random sampler")
    arguments_of.add_argument(
        "--tpe", type=int, default=1_000, help="candidates with TPE (0: none)"
    )
    arguments_of.add_argument("--mlflow", type=int, default=1_000, help="... with MLflow (0: none)")
    arguments_of.add_argument(
        "--place",
        type=Path,
        help="the folder for the study's files (default: a temporary folder)",
    )
    arguments_of.add_argument(
        "--profile", action="store_true", help="print where the random sampler's study spends time"
    )
    arguments: argparse.Namespace = arguments_of.parse_args()
    if arguments.quick:
        arguments.candidates, arguments.tpe, arguments.mlflow = 400, 100, 100
    profile = cProfile.Profile() if arguments.profile else None
    cases = {
        "Random sampler: the cost of initsearch": ("random", arguments.candidates, False),
        "TPE: with the cost of the sampler": ("tpe", arguments.tpe, False),
        "Random sampler with MLflow": ("random", arguments.mlflow, True),
    }
    sections: list[tuple[str, str]] = []
    costs: dict[str, list[Cost]] = {}
    for case, (sampler, count, mlflow) in cases.items():
        count -= count % STRETCH
        if count:
            traced = profile if not costs else None
            costs[case], after = cost_per_candidate(sampler, count, mlflow, arguments.place, traced)
            part = 1_000 if count >= 5_000 else max(STRETCH, count // 5 // STRETCH * STRETCH)
            sections.append((f"{case}, {count} candidates", report(costs[case], after, part)))
    publish("Cost per candidate", sections, {"stretch": STRETCH, "seconds": costs}, arguments)
    if profile is not None:
        pstats.Stats(profile).sort_stats("tottime").print_stats(30)


if __name__ == "__main__":
    main()
