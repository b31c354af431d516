"""From Hydra's configuration to the typed settings of a study: everything is parsed here, once."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from initsearch.checks import check_choice, check_number
from initsearch.chosen_groups import as_chosen
from initsearch.dotted import allowed_names
from initsearch.errors import ConfigError, quoted, unknown_name
from initsearch.search.baselines import read_baselines
from initsearch.search.metric import AUTO, MODES, make_metric, with_margin
from initsearch.search.settings import RaceSettings, SearchSettings, StudySettings
from initsearch.shipped_configs import no_sweep
from initsearch.space import Space
from initsearch.tasks import Task
from initsearch.tasks.registry import build_task
from initsearch.training import TrainerSettings

#: Config groups of the task.
TASK_GROUPS = {"task", "data", "model", "optimizer"}
#: What a configuration has at its top: the settings of a study, with its task in groups.
KEYS = {*StudySettings.model_fields, *TASK_GROUPS, "allow_code"} - {"architecture", "composed"}


def read_settings(config: DictConfig, overrides: Sequence[str] = ()) -> StudySettings:
    """Check a composed configuration and turn it into a study's settings.

    Args:
        config: As Hydra composed it.
        overrides: The overrides of the command line, which say what was chosen there; see `as_chosen`.

    Raises:
        ConfigError: A key, name or value that breaks a rule.
    """
    plain: dict[str, Any] = OmegaConf.to_container(  # type: ignore[assignment]
        config, resolve=True, throw_on_missing=True
    )
    for key in plain:
        if key not in KEYS:
            raise unknown_name("key of the configuration", key, KEYS)
    plain = as_chosen(plain, overrides)
    if not plain.get("space"):
        raise no_sweep()
    metric = plain.get("metric", AUTO)
    if not isinstance(metric, str):
        raise ConfigError(f"metric must be a name, but got {quoted(metric)}: the default is {AUTO}")
    if plain.get("mode") is not None:
        check_choice("mode", plain["mode"], MODES)
    check_number("target_accuracy", plain.get("target_accuracy", 0.9))
    task = _task(_with_length(plain), metric)
    metric = _main_metric(task) if metric == AUTO else metric
    trainer = TrainerSettings.parse("trainer", plain.get("trainer"))
    allow_code = allowed_names(plain.get("allow_code", ()))
    own = {key: value for key, value in plain.items() if key in StudySettings.model_fields}
    parsed = {
        "architecture": task.model.label if hasattr(task, "model") else type(task).__name__,
        "task": task,
        "metric": metric,
        "trainer": trainer,
        "space": Space.from_spec(plain["space"], allow_code),
        "baselines": read_baselines(plain.get("baselines"), allow_code),
        "workers": _workers(trainer) if plain.get("workers") is None else plain["workers"],
        "search": SearchSettings.parse("search", plain.get("search")),
        "race": _race(plain, metric, task),
        "composed": plain,
    }
    return StudySettings.parse("", own | parsed)


def _with_length(plain: Mapping[str, Any]) -> Mapping[str, Any]:
    """The configuration with the length of the full training in the optimizer's schedule."""
    optimizer = plain.get("optimizer")
    schedule = optimizer.get("schedule") if isinstance(optimizer, Mapping) else None
    if isinstance(schedule, str):
        schedule = {"name": schedule}
    if not isinstance(optimizer, Mapping) or not isinstance(schedule, Mapping):
        return plain
    epochs = plain.get("max_epochs", StudySettings.model_fields["max_epochs"].default)
    return {**plain, "optimizer": {**optimizer, "schedule": {"epochs": epochs, **schedule}}}


def _task(plain: Mapping[str, Any], metric: object) -> Task:
    """The task of the configuration's groups, or the one that `task._target_` builds."""
    given = plain.get("task")
    if not isinstance(given, Mapping) or "_target_" not in given:
        return build_task(plain, _own_score(metric, plain.get("mode")))
    # The settings of the shipped tasks stand beside a `_target_` that is set on the command line.
    shipped = {"name", *(["loss"] if given.get("loss") == AUTO else [])}
    arguments = {key: value for key, value in given.items() if key not in shipped}
    data = plain.get("data")
    if isinstance(data, Mapping) and "_target_" in data:
        arguments = {"data": data, **arguments}
    try:
        task = instantiate(arguments, _convert_="all")
    except InstantiationException as error:
        reason = " ".join(str(error.__cause__ or error).split())
        raise ConfigError(
            f"task._target_ {given['_target_']!r} cannot be built ({reason}): correct the settings under task"
        ) from error
    if not isinstance(task, Task):
        raise ConfigError(
            f"task._target_ {given['_target_']!r} must build an initsearch.tasks.Task, but built a "
            f"{type(task).__name__}: give it the methods of the protocol"
        )
    return task


def _main_metric(task: Task) -> str:
    """The metric that suits a task."""
    found = getattr(task, "main_metric", None)
    if not isinstance(found, str):
        raise ConfigError(
            f"metric must be set for {type(task).__name__}, which names no main_metric: metric=val_mse mode=min"
        )
    return found


def _own_score(metric: object, mode: object) -> str | None:
    """The metric, if it is the dotted path of a function of one's own."""
    if not isinstance(metric, str) or "." not in metric:
        return None
    if mode not in MODES:
        raise ConfigError(
            f"mode must be max or min for a metric of one's own, metric={metric}, but got {mode!r}: set "
            "mode=max if higher is better"
        )
    return metric


def _race(plain: Mapping[str, Any], metric: str, task: Task) -> RaceSettings:
    """The settings of the race; a margin that is left to the metric is in its own unit."""
    given = plain.get("race")
    if isinstance(given, Mapping):
        known = make_metric(metric, plain.get("target_accuracy", 0.9), plain.get("mode"))
        given = with_margin(given, known, lambda: task.info().guess)
    return RaceSettings.parse("race", given)


def _workers(trainer: TrainerSettings) -> int:
    """One per core, or per GPU if candidates train on GPUs; one if a training takes all devices."""
    return 1 if trainer.distributed else len(trainer.gpus) or _cores()


def _cores() -> int:
    """Cores that this process may use; a container or a scheduler may allow fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
