"""The shipped tasks by name, and the task that a configuration describes."""

from collections.abc import Mapping
from importlib import import_module
from typing import Annotated, Any

from initsearch.errors import ConfigError
from initsearch.settings import Settings, one_of
from initsearch.tasks.data import DataSettings
from initsearch.tasks.data.examples import ExampleSettings
from initsearch.tasks.image_classification import ImageClassification
from initsearch.tasks.models import ModelSettings
from initsearch.tasks.optimizer import OptimizerSettings
from initsearch.tasks.own_data import OwnDataSettings
from initsearch.tasks.supervised import SupervisedTask

IMAGES = "image_classification"
#: The tasks on examples that are no plain images: the module and the class of their config group `data`.
_DATA = {
    "function": ("function_regression", "FunctionSettings"),
    "sequence": ("sequence", "SequenceSettings"),
    "tabular": ("tabular", "TableSettings"),
    "text": ("text", "TextSettings"),
}
TASKS = (IMAGES, *_DATA)


class TaskSettings(Settings):
    """The config group `task`.

    Attributes:
        name: One of `TASKS`.
        loss: The training loss: a name, a dotted path to a function of outputs and targets, or `auto`; see
            `Objective`.
    """

    name: Annotated[str, one_of("task", TASKS)] = IMAGES
    loss: str = "auto"


def build_task(
    groups: Mapping[str, Any], extra_score: str | None = None
) -> ImageClassification | SupervisedTask:
    """The task that the groups `task`, `data`, `model` and `optimizer` of a configuration describe.

    Data with a `_target_` are a user's own: whatever the task, what they are says what is learned.

    Args:
        groups: The groups by name; a missing `task` is image classification.
        extra_score: The dotted path of a score of one's own.

    Raises:
        ConfigError: A name or a value breaks a rule, or the data belong to another task.
    """
    task = TaskSettings.parse("task", groups.get("task") or {})
    model = ModelSettings.parse("model", groups.get("model"))
    optimizer = OptimizerSettings.parse("optimizer", groups.get("optimizer"))
    given = groups.get("data")
    if isinstance(given, Mapping) and "_target_" in given:
        own = OwnDataSettings.parse("data", given)
        return SupervisedTask(own, model, optimizer, task.loss, extra_score)
    _check_data(task.name, given)
    if task.name == IMAGES:
        images = DataSettings.parse("data", given)
        built = ImageClassification(images, model, optimizer, task.loss, extra_score)
        built.objective  # noqa: B018 - raises what cannot be found
        return built
    data: ExampleSettings = _settings_class(task.name).parse("data", given)
    return SupervisedTask(data, model, optimizer, task.loss, extra_score)


def _settings_class(task: str) -> type[ExampleSettings]:
    module, name = _DATA[task]
    found: type[ExampleSettings] = getattr(import_module(f"{__package__}.{module}"), name)
    return found


def _check_data(task: str, given: object) -> None:
    """Refuse data of another task by a word on both."""
    name = given.get("name") if isinstance(given, Mapping) else None
    from initsearch.tasks.data.settings import NAMES

    known = {IMAGES: NAMES} | {
        other: import_module(f"{__package__}.{module}").NAMES
        for other, (module, _) in _DATA.items()
    }
    if name in known[task]:
        return
    fitting = [other for other, names in known.items() if name in names]
    if fitting:
        raise ConfigError(
            f"data must be of task={task} ({', '.join(known[task])}), but got {name!r}: choose one of them, or "
            f"set task={fitting[0]}"
        )
