"""`run_standalone_job`: the candidates of a job, trained by a `StandaloneTask`."""

import math
import traceback
from collections.abc import Sequence
from pathlib import Path

import torch

from initsearch.errors import InitSearchError, ModelError, shortened
from initsearch.plan import InitPlan
from initsearch.random_state import isolated_random_state
from initsearch.tasks.base import Measured, StandaloneTask, TogetherTask, Trained
from initsearch.tasks.streams import step_at
from initsearch.training.job import Candidate, CohortResult, Curve, Point, TestJob, TrainJob
from initsearch.training.job_clock import JobClock


def run_standalone_job(task: StandaloneTask, job: TrainJob | TestJob) -> CohortResult:
    """Train the candidates of a job from the start, and measure them.

    The global random state is left as it was.

    Args:
        task: The job's task.
        job: What is asked.

    Raises:
        InitSearchError: A candidate cannot be trained.
    """
    if not isinstance(job, TrainJob):
        raise TypeError(f"{type(task).__name__} has no test set, but got {job!r}")
    clock = JobClock()
    steps_per_epoch = task.info().steps_per_epoch
    # A process that has not used its GPUs has no state to keep there.
    used: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    devices = [torch.device("cuda", i) for i in range(torch.cuda.device_count() if used else 0)]
    plans = [InitPlan.from_spec(candidate.plan) for candidate in job.candidates]
    with isolated_random_state(devices=devices):
        trained = _trained(task, plans, job)
    curves = [
        _curve(candidate, job.seed, measured, steps_per_epoch)
        for candidate, measured in zip(job.candidates, trained.measured, strict=True)
    ]
    return clock.result(curves, trained.engine, trained.reason, "own")


def _trained(task: StandaloneTask, plans: Sequence[InitPlan], job: TrainJob) -> Trained:
    try:
        if isinstance(task, TogetherTask):
            return task.train_together(plans, job.seed, job.points)
        measured = [task.train(plan, job.seed, job.points) for plan in plans]
        return Trained(measured, "own", "the task trains its candidates itself")
    except InitSearchError:
        raise
    except Exception as error:
        raise ModelError(f"the training failed with {_described(error)}") from error


def _curve(
    candidate: Candidate, seed: int, measured: Sequence[Measured], steps_per_epoch: int
) -> Curve:
    finite = [one for one in measured if all(map(math.isfinite, one.scores.values()))]
    diverged = len(finite) < len(measured)
    return Curve(
        candidate=candidate.name,
        seed=seed,
        points=() if diverged else tuple(_point(one, steps_per_epoch) for one in finite),
        initial_loss=math.nan,
        diverged=diverged,
    )


def _described(error: Exception) -> str:
    """An error of the user's code in one line, with the place that raised it."""
    reason = shortened((str(error).strip().splitlines() or [""])[-1])
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {reason} ({Path(place.filename).name}, line {place.lineno})"


def _point(measured: Measured, steps_per_epoch: int) -> Point:
    step = step_at(measured.budget, steps_per_epoch)
    return Point(measured.budget, step, measured.train_loss, measured.scores)
