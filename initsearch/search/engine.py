"""How a study's cohorts are trained: chosen once, by a probe where the configuration says `auto`."""

import json
from concurrent.futures import Executor
from pathlib import Path

from initsearch.files import write_whole
from initsearch.search.settings import StudySettings
from initsearch.training.engine_choice import EngineChoice
from initsearch.training.job import TrainJob
from initsearch.training.worker import probe_engines

#: Trainer settings that a probe can decide.
PROBED = ("engine", "autocast", "channels_last")


def engine_choice(
    settings: StudySettings, job: TrainJob, file: Path, executor: Executor
) -> EngineChoice | None:
    """The study's choice: as it was made before, or made now; None where nothing is left to choose.

    A probe goes by time, so that two of them may differ. A study keeps its choice in a file: all its jobs, now
    and after an interruption, are trained in one way.

    Args:
        settings: What is searched, the config group `trainer` among it.
        job: Any job of the study, which the probe trains for a few steps.
        file: Where the choice is kept.
        executor: Who trains: what is fast is asked of the process that shall train, not of this one.
    """
    trainer = settings.trainer
    if "auto" not in [getattr(trainer, key) for key in PROBED]:
        return None
    if file.exists():
        return EngineChoice.from_json(json.loads(file.read_text(encoding="utf-8")))
    asked = (job, settings.search.cohort_size, settings.workers)
    # Where a training takes several processes, there is one way, known without a step.
    distributed = trainer.distributed
    choice = (
        probe_engines(*asked) if distributed else executor.submit(probe_engines, *asked).result()
    )
    write_whole(file, json.dumps(choice.to_json(), indent=2) + "\n")
    return choice
