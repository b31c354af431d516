"""`TimeLimits`: the seconds that a job may take, as the setting `job_timeout` says."""

from typing import Literal

from initsearch.training.job import CohortResult, Job, TestJob, TrainJob

#: Under `auto`, a job may take this many times as long per candidate-epoch as the slowest job of this run.
MULTIPLE = 10
#: And at least this long, in seconds: opening data and compiling take their time in short jobs.
LEAST = 600.0
#: While no job of this run has ended: seconds per optimizer step and candidate.
PER_STEP = 30.0
#: The seconds that the probe of the engines may take, which is some hundred steps.
PROBE = 3600.0

#: A number of seconds, a limit that follows from the jobs that have ended, or no limit.
JobTimeout = float | Literal["auto"] | None


class TimeLimits:
    """How long jobs may take.

    Only this run's jobs count: an earlier run may have been on a faster machine.

    Args:
        setting: `job_timeout`.
        steps_per_epoch: Optimizer steps in an epoch; None if that is unknown: then `auto` has no limit before a
            job has ended.
    """

    def __init__(self, setting: JobTimeout, steps_per_epoch: float | None = None) -> None:
        self._setting = setting
        self._steps_per_epoch = steps_per_epoch
        self._slowest: float | None = None  # in seconds per candidate-epoch

    def note(self, job: Job, result: CohortResult) -> None:
        """Take into account how long a job took."""
        pace = result.wall_seconds / _work(job)
        self._slowest = max(pace, self._slowest or 0.0)

    def of(self, job: Job) -> float | None:
        """The seconds that a job may take, as far as is known now; None: no limit."""
        if self._setting != "auto":
            return self._setting
        if self._slowest is not None:
            return max(LEAST, MULTIPLE * self._slowest * _work(job))
        if self._steps_per_epoch is None:
            return None
        return max(LEAST, PER_STEP * self._steps_per_epoch * _work(job))

    def of_probe(self) -> float | None:
        """The seconds that the probe of the engines may take."""
        return PROBE if self._setting == "auto" else self._setting


def _work(job: Job) -> float:
    """A job's work in candidate-epochs. A test counts as a training: without a checkpoint it trains again."""
    if isinstance(job, TestJob):
        return len(job.candidates) * job.epochs
    if isinstance(job, TrainJob):
        return len(job.candidates) * (job.stop_epoch - job.start_epoch)
    raise TypeError(f"job must be a TrainJob or a TestJob, but got {job!r}")
