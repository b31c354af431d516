"""What worker processes are asked to do.

Imports nothing heavy: a coordinator passes these functions on, and need not load Lightning for it.
"""

from initsearch.training.choice import EngineChoice
from initsearch.training.job import CohortResult, Job


def run_job(job: Job) -> CohortResult:
    """Train a cohort and measure it; see `run.train_cohort`."""
    from initsearch.training.run import train_cohort

    return train_cohort(job)


def probe_engines(job: Job, largest: int, processes: int) -> EngineChoice:
    """Time the ways to train a job's candidates, and choose; see `probe.choose_engine`.

    Args:
        job: Any job of the study.
        largest: Candidates in its largest cohort.
        processes: That share the memory of this machine or GPU.
    """
    from initsearch.training.probe import COHORT_SIZES, choose_engine

    return choose_engine(job, [size for size in COHORT_SIZES if size <= largest], None, processes)
