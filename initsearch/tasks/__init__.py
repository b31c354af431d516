"""What is trained: data, a model for a seed, batches, the loss, named scores and the optimizer.

Training and search know a task only by the protocols of `base.py`: a `CohortTask` with its `Block`s is
trained by engines, a `StandaloneTask` trains itself. Each task is a file beside it with the same methods.
Begin with `base.py`, then `image_classification.py` for a cohort task and `score.py` for a standalone one.
"""

from typing import TYPE_CHECKING

from initsearch.lazy import lazy_exports

if TYPE_CHECKING:
    from initsearch.tasks.base import Batch as Batch
    from initsearch.tasks.base import BatchFormat as BatchFormat
    from initsearch.tasks.base import Block as Block
    from initsearch.tasks.base import CohortTask as CohortTask
    from initsearch.tasks.base import Entry as Entry
    from initsearch.tasks.base import EvaluationSet as EvaluationSet
    from initsearch.tasks.base import Measured as Measured
    from initsearch.tasks.base import Ranks as Ranks
    from initsearch.tasks.base import StandaloneTask as StandaloneTask
    from initsearch.tasks.base import Task as Task
    from initsearch.tasks.base import TaskInfo as TaskInfo
    from initsearch.tasks.base import TogetherTask as TogetherTask
    from initsearch.tasks.base import Trained as Trained
    from initsearch.tasks.data import DataSettings as DataSettings
    from initsearch.tasks.image_classification import ImageBlock as ImageBlock
    from initsearch.tasks.image_classification import ImageClassification as ImageClassification
    from initsearch.tasks.models import ModelSettings as ModelSettings
    from initsearch.tasks.optimizer import OptimizerSettings as OptimizerSettings
    from initsearch.tasks.streams import derive_seed as derive_seed
    from initsearch.tasks.streams import step_at as step_at
    from initsearch.tasks.streams import steps_per_epoch as steps_per_epoch

# Loaded on first use: training needs the protocols, and neither data sets nor models.
__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        **dict.fromkeys(
            (
                *(
                    "Batch",
                    "BatchFormat",
                    "Block",
                    "CohortTask",
                    "Entry",
                    "EvaluationSet",
                    "Measured",
                ),
                *("Ranks", "StandaloneTask", "Task", "TaskInfo", "TogetherTask", "Trained"),
            ),
            "base",
        ),
        **dict.fromkeys(("derive_seed", "step_at", "steps_per_epoch"), "streams"),
        **dict.fromkeys(("ImageBlock", "ImageClassification"), "image_classification"),
        "DataSettings": "data",
        "ModelSettings": "models",
        "OptimizerSettings": "optimizer",
    },
)
