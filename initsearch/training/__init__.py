"""How candidates are trained: cohorts of one block side by side in one LightningModule, by an engine.

A coordinator submits `run_job` with a `TrainJob` or a `TestJob` and gets a `CohortResult` back; what is
trained stands behind `initsearch.tasks.Task`, and no data set or loss is known here. A standalone task trains
itself; every other one is trained in cohorts.
Begin with `job.py` for what is asked and answered, `run.py` for the way of a job, and `cohort.py`.
"""

from typing import TYPE_CHECKING

from initsearch.lazy import lazy_exports

if TYPE_CHECKING:
    from initsearch.training.engine_choice import EngineChoice as EngineChoice
    from initsearch.training.job import Candidate as Candidate
    from initsearch.training.job import CohortResult as CohortResult
    from initsearch.training.job import Curve as Curve
    from initsearch.training.job import Job as Job
    from initsearch.training.job import Point as Point
    from initsearch.training.job import TestJob as TestJob
    from initsearch.training.job import TrainJob as TrainJob
    from initsearch.training.trainer_settings import TrainerSettings as TrainerSettings
    from initsearch.training.worker import probe_engines as probe_engines
    from initsearch.training.worker import run_job as run_job

# Loaded on first use: a coordinator submits jobs without loading Lightning.
__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        **dict.fromkeys(
            ("Candidate", "CohortResult", "Curve", "Job", "Point", "TestJob", "TrainJob"), "job"
        ),
        **dict.fromkeys(("probe_engines", "run_job"), "worker"),
        "EngineChoice": "engine_choice",
        "TrainerSettings": "trainer_settings",
    },
)
