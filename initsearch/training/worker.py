"""What worker processes are asked to do.

Imports nothing heavy: a coordinator submits these functions without loading Lightning.
"""

from initsearch.tasks.base import StandaloneTask
from initsearch.training.engine_choice import EngineChoice
from initsearch.training.job import CohortResult, Job, TestJob, TrainJob


def run_job(job: Job) -> CohortResult:
    """Train a cohort, or test a trained one.

    See `run.run_train_job` and `run.run_test_job`, and for tasks that train candidates themselves
    `standalone_run.run_standalone_job`.
    """
    if isinstance(job, TrainJob | TestJob) and isinstance(job.task, StandaloneTask):
        from initsearch.training.standalone_run import run_standalone_job

        return run_standalone_job(job.task, job)
    from initsearch.training.run import run_test_job, run_train_job

    if isinstance(job, TestJob):
        return run_test_job(job)
    if isinstance(job, TrainJob):
        return run_train_job(job)
    raise TypeError(f"job must be a TrainJob or a TestJob, but got {job!r}")


def probe_engines(job: TrainJob, largest: int, processes: int) -> EngineChoice:
    """Time the ways to train a job's candidates, and choose; see `probe.choose_engine`.

    Args:
        job: Any job of the study.
        largest: Candidates in its largest cohort.
        processes: Number of processes that share the memory of this machine or GPU.
    """
    from initsearch.training.probe import COHORT_SIZES, choose_engine

    return choose_engine(job, [size for size in COHORT_SIZES if size <= largest], None, processes)
