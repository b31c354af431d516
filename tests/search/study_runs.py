"""Small studies on scikit-learn's digits, and trackers that listen to them or stop them."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from initsearch.execution import SerialExecutor
from initsearch.search.settings import RaceSettings, SearchSettings, StudySettings
from initsearch.search.study import Study
from initsearch.search.tracker import Candidate, Measurement, StudyInfo
from initsearch.search.verdict import Verdict
from initsearch.space import Space
from initsearch.tasks import DataSettings, ImageClassification, ModelSettings, OptimizerSettings
from initsearch.training import (
    CohortResult,
    Job,
    TestJob,
    TrainerSettings,
    TrainJob,
    run_job,
)

SPACE: dict[str, Any] = {
    "groups": {
        "relu": {
            "where": {"activation": "relu"},
            "weight": {
                "variance_scaling": {
                    "factor": {"low": 0.5, "high": 4.0, "log": True},
                    "mode": ["fan_in", "fan_out"],
                },
                "lecun_normal": None,
                "orthogonal": {"gain": [1.0, 1.5]},
            },
        },
        "head": {"where": {"role": "head"}, "weight": ["glorot_uniform", "zeros"]},
    }
}
BASELINES = {name: name for name in ("torch_default", "he_normal", "zeros")}


DATA = {"name": "digits", "train_size": 128, "val_size": 64}
MODEL = {"name": "mlp", "depth": 1, "width": 16, "activation": "relu"}
OPTIMIZER = {"name": "sgd", "lr": 0.1, "momentum": 0.9, "batch_size": 16}
#: Nothing is left to a probe.
TRAINER = {"accelerator": "cpu", "engine": "loop", "autocast": "none", "channels_last": False}
GROUPS = ("data", "model", "optimizer")


def make_task(
    data: dict[str, Any] = DATA,
    model: dict[str, Any] = MODEL,
    optimizer: dict[str, Any] = OPTIMIZER,
) -> ImageClassification:
    """An image classification of settings as a configuration has them."""
    return ImageClassification(
        data=DataSettings.parse("data", data),
        model=ModelSettings.parse("model", model),
        optimizer=OptimizerSettings.parse("optimizer", optimizer),
    )


def settings(output_dir: Path, **changes: Any) -> StudySettings:
    """A study of seconds: 9 candidates in cohorts of 4, a probe, 3 rungs, a race of up to 4 blocks."""
    space = changes.pop("space", SPACE)
    search = {"seeds": 2, "cohort_size": 4, "first_rung": 0.25, "probe_steps": 2}
    search |= changes.pop("search", {})
    race = {"max_seeds": 4, "looks": (2, 3, 4), "margin": 1.0} | changes.pop("race", {})
    trainer = TRAINER | changes.pop("trainer", {})
    plain: dict[str, Any] = {
        "name": "small",
        "architecture": "mlp-1x16-relu",
        "task": make_task(**{key: changes.pop(key) for key in GROUPS if key in changes}),
        "trainer": TrainerSettings.parse("trainer", trainer),
        "baselines": BASELINES,
        "n_trials": 9,
        "max_epochs": 2,
    }
    return StudySettings(
        space=Space.from_spec(space),
        output_dir=output_dir,
        search=SearchSettings(**search),
        race=RaceSettings(**race),
        composed={"n_trials": changes.get("n_trials", 9)},
        **(plain | changes),
    )


Call = tuple[str, tuple[Any, ...]]


class Listener:
    """A tracker and a progress in one; it records every call, and can raise Ctrl-C at one.

    Args:
        stop_at: Raises Ctrl-C at the first call for which this holds.
    """

    def __init__(self, stop_at: Callable[[Call], bool] | None = None) -> None:
        self.calls: list[Call] = []
        self._stop_at = stop_at

    def _hear(self, name: str, *arguments: Any) -> None:
        call = (name, arguments)
        self.calls.append(call)
        if self._stop_at is not None and self._stop_at(call):
            self._stop_at = None
            raise KeyboardInterrupt

    def heard(self, name: str) -> list[tuple[Any, ...]]:
        return [arguments for called, arguments in self.calls if called == name]

    def start_study(self, study: StudyInfo) -> None:
        self._hear("start_study", study)

    def start_candidate(self, candidate: Candidate) -> None:
        self._hear("start_candidate", candidate)

    def measure(self, candidate: str, measurements: Sequence[Measurement]) -> None:
        self._hear("measure", candidate, measurements)

    def end_candidate(self, candidate: str, status: str, reason: str) -> None:
        self._hear("end_candidate", candidate, status, reason)

    def end_study(self, verdict: Verdict) -> None:
        self._hear("end_study", verdict)

    def close(self) -> None:
        self._hear("close")

    def plan(self, work: Mapping[str, float]) -> None:
        self._hear("plan", work)

    def phase(self, name: str, total: float) -> None:
        self._hear("phase", name, total)

    def training(self, what: str) -> None:
        self._hear("training", what)

    def advance(self, amount: float) -> None:
        self._hear("advance", amount)

    def skip(self, amount: float) -> None:
        self._hear("skip", amount)

    def message(self, text: str) -> None:
        self._hear("message", text)


def run(
    asked: StudySettings,
    listener: Listener | None = None,
    executor: Executor | None = None,
    train: Callable[[Job], CohortResult] = run_job,
) -> Verdict:
    """Run or resume a study, by default in this process."""
    listener = listener or Listener()
    study = Study(asked, listener, listener, train)
    return study.run(executor or SerialExecutor())


def numbers(verdict: Verdict) -> dict[str, Any]:
    """All of a verdict but the time that it took."""
    plain = verdict.to_json()
    del plain["wall_seconds"], plain["cpu_seconds"]
    return plain


def stored(asked: StudySettings) -> optuna.Study:
    """Optuna's record of a study, read from its file."""
    storage = JournalStorage(JournalFileBackend(str(asked.output_dir / "optuna.journal")))
    return optuna.load_study(study_name=folder(asked).name, storage=storage)


def folder(asked: StudySettings) -> Path:
    """The study's own folder."""
    return Study(asked, Listener(), Listener()).folder


class Trained:
    """Trains by a function and records the jobs.

    Attributes:
        jobs: In order, every job that was run.
        results: Their results, without those that raised an error.
    """

    def __init__(self, train: Callable[[Job], CohortResult]) -> None:
        self.jobs: list[Job] = []
        self.results: list[CohortResult] = []
        self._train = train

    def __call__(self, job: Job) -> CohortResult:
        self.jobs.append(job)
        result = self._train(job)
        self.results.append(result)
        return result

    def run(
        self,
        asked: StudySettings,
        listener: Listener | None = None,
        executor: Executor | None = None,
    ) -> Verdict:
        """Run or resume a study that trains by this."""
        return run(asked, listener, executor, self)

    @property
    def trainings(self) -> list[TrainJob]:
        """The jobs that train."""
        return [job for job in self.jobs if isinstance(job, TrainJob)]

    @property
    def pieces(self) -> list[tuple[str, int, float, bool]]:
        """Candidate, block, end of the budget, test or not: one entry per candidate of a job."""
        return [
            (candidate.name, job.seed, end_of(job), isinstance(job, TestJob))
            for job in self.jobs
            for candidate in job.candidates
        ]


def end_of(job: Job) -> float:
    """The epoch to which a job's candidates are trained when it is done."""
    if isinstance(job, TestJob):
        return job.epochs
    assert isinstance(job, TrainJob)
    return job.stop_epoch
