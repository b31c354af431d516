"""`run_standalone_job`: the candidates of a job, trained by a `StandaloneTask`."""

import math
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch

from initsearch.digests import short_hash
from initsearch.errors import InitSearchError, ModelError, shortened
from initsearch.plan import InitPlan
from initsearch.random_state import isolated_random_state
from initsearch.tasks.base import Entry, Measured, StandaloneTask, TogetherTask, Trained
from initsearch.tasks.streams import step_at
from initsearch.training.job import Candidate, CohortResult, Curve, Point, TestJob, TrainJob
from initsearch.training.job_clock import JobClock


def run_standalone_job(task: StandaloneTask, job: TrainJob | TestJob) -> CohortResult:
    """Train the candidates of a job from the start and measure them, or score trained ones on the test set.

    The global random state is left as it was.

    Args:
        task: The job's task.
        job: What is asked.

    Raises:
        InitSearchError: A candidate cannot be trained.
    """
    if isinstance(job, TestJob) and not isinstance(task, TogetherTask):
        raise TypeError(f"{type(task).__name__} has no test set, but got {job!r}")
    clock = JobClock()
    steps_per_epoch = task.info().steps_per_epoch
    # A process that has not used its GPUs has no state to keep there.
    used: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    devices = [torch.device("cuda", i) for i in range(torch.cuda.device_count() if used else 0)]
    with isolated_random_state(devices=devices):
        try:
            if isinstance(job, TestJob):
                return clock.result(
                    _tested(cast("TogetherTask", task), job), "none", "tested", "own"
                )
            trained = _trained(task, job)
        except InitSearchError:
            raise
        except Exception as error:
            raise ModelError(f"the training failed with {_described(error)}") from error
    curves = [
        _curve(candidate, job, measured, steps_per_epoch)
        for candidate, measured in zip(job.candidates, trained.measured, strict=True)
    ]
    return clock.result(curves, trained.engine, trained.reason, "own")


def _tested(task: TogetherTask, job: TestJob) -> list[Curve]:
    """Scores on the test set; a candidate of which nothing was kept is trained again."""
    curves = []
    for candidate in job.candidates:
        entry = _entry(candidate, job.states.get(candidate.name))
        scores = task.test(entry, job.seed, job.epochs)
        curves.append(Curve(candidate.name, job.seed, (), math.nan, test=scores))
    return curves


def _trained(task: StandaloneTask, job: TrainJob) -> Trained:
    if isinstance(task, TogetherTask):
        entries = [_entry(each, _kept(job, each)) for each in job.candidates]
        return task.train_together(entries, job.seed, job.points)
    plans = [InitPlan.from_spec(candidate.plan) for candidate in job.candidates]
    measured = [task.train(plan, job.seed, job.points) for plan in plans]
    return Trained(measured, "own", "the task trains its candidates itself")


def _entry(candidate: Candidate, kept: str | None) -> Entry:
    return Entry(InitPlan.from_spec(candidate.plan), candidate.lr, kept)


def _kept(job: TrainJob, candidate: Candidate) -> str | None:
    """The file for what a test of a candidate needs."""
    if job.state_dir is None:
        return None
    folder = Path(job.state_dir)
    folder.mkdir(parents=True, exist_ok=True)
    return str(folder / f"{short_hash([candidate.name, job.seed])}.ckpt")


def _curve(
    candidate: Candidate, job: TrainJob, measured: Sequence[Measured], steps_per_epoch: int
) -> Curve:
    finite = [one for one in measured if all(map(math.isfinite, one.scores.values()))]
    diverged = len(finite) < len(measured)
    kept = _kept(job, candidate)
    return Curve(
        candidate=candidate.name,
        seed=job.seed,
        points=() if diverged else tuple(_point(one, steps_per_epoch) for one in finite),
        initial_loss=math.nan,
        diverged=diverged,
        state=None if diverged or kept is None or not Path(kept).exists() else kept,
    )


def _described(error: Exception) -> str:
    """An error of the user's code in one line, with the place that raised it."""
    reason = shortened((str(error).strip().splitlines() or [""])[-1])
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {reason} ({Path(place.filename).name}, line {place.lineno})"


def _point(measured: Measured, steps_per_epoch: int) -> Point:
    step = step_at(measured.budget, steps_per_epoch)
    return Point(measured.budget, step, measured.train_loss, measured.scores)
