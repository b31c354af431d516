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

    Attributes:
        setting: `job_timeout`.
    """

    def __init__(self, setting: JobTimeout, steps_per_epoch: float | None = None) -> None:
        self.setting = setting
        self._steps_per_epoch = steps_per_epoch
        self._slowest: float | None = None  # in seconds per candidate-epoch

    def note(self, job: Job, result: CohortResult) -> None:
        """Take into account how long a job took."""
        pace = result.wall_seconds / _work(job)
        self._slowest = max(pace, self._slowest or 0.0)

    def of(self, job: Job) -> float | None:
        """The seconds that a job may take, as far as is known now; None: no limit."""
        if self.setting != "auto":
            return self.setting
        if self._slowest is not None:
            return max(LEAST, MULTIPLE * self._slowest * _work(job))
        if self._steps_per_epoch is None:
            return None
        return max(LEAST, PER_STEP * self._steps_per_epoch * _work(job))

    def of_check(self) -> float | None:
        """The seconds in which a model must be built and run once."""
        return LEAST if self.setting == "auto" else self.setting

    def is_longer_than(self, setting: JobTimeout, seconds: float) -> bool:
        """Whether this setting is larger than another.

        Args:
            setting: The other setting.
            seconds: The seconds that a job had under it.
        """
        if self.setting is None:
            return setting is not None
        if (
            self.setting == "auto"
        ):  # what it allows differs from run to run, but is never less than this
            return setting != "auto" and seconds < LEAST
        return self.setting > seconds

    def of_probe(self) -> float | None:
        """The seconds that the probe of the engines may take."""
        return PROBE if self.setting == "auto" else self.setting


def _work(job: Job) -> float:
    """A job's work in candidate-epochs. A test counts as a training: without a checkpoint it trains again."""
    if isinstance(job, TestJob):
        return len(job.candidates) * job.epochs
    if isinstance(job, TrainJob):
        return len(job.candidates) * (job.stop_epoch - job.start_epoch)
    raise TypeError(f"job must be a TrainJob or a TestJob, but got {job!r}")
