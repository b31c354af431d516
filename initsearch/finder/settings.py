"""The settings of a study from the arguments of `init_find`."""

import os
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from initsearch.errors import ConfigError, shortened
from initsearch.search.baselines import read_baselines
from initsearch.search.jobs.time_limits import JobTimeout
from initsearch.search.metric import METRICS, make_metric, with_margin
from initsearch.search.settings import RaceSettings, SearchSettings, StudySettings
from initsearch.space import Space
from initsearch.tasks import StandaloneTask, Task
from initsearch.training import TrainerSettings

#: How a standalone task is trained is its own matter: nothing is left to a probe.
STANDALONE = TrainerSettings(engine="loop", autocast="none", channels_last=False)


def make_settings(
    task: Task,
    *,
    name: str,
    architecture: str,
    space: Space | Mapping[str, Any] | str | os.PathLike[str],
    max_epochs: float | None,
    metric: str,
    mode: str | None,
    baselines: str | Mapping[str, Any] | Sequence[str] | None,
    n_trials: int,
    seed: int,
    workers: int,
    job_timeout: JobTimeout,
    output_dir: str | os.PathLike[str],
    search: Mapping[str, Any] | None,
    race: Mapping[str, Any] | None,
) -> StudySettings:
    """The settings of a study; the arguments are those of `init_find`.

    Raises:
        ConfigError: An argument breaks a rule.
    """
    own = not isinstance(task, StandaloneTask) and metric in METRICS
    mode = mode or (None if own else "max")
    raced = with_margin(race or {}, make_metric(metric, mode=mode), lambda: task.info().guess)
    read = Space.from_spec(space)
    if read.lr is not None and task.lr is None:
        raise ConfigError(
            "space.lr must be left out, since the task takes no learning rate: remove lr from the space"
        )
    given = {
        "name": name,
        "architecture": architecture,
        "task": task,
        "trainer": STANDALONE if isinstance(task, StandaloneTask) else TrainerSettings(),
        "space": read,
        "output_dir": Path(output_dir),
        "n_trials": n_trials,
        "seed": seed,
        # One worker is this process: the function may be a closure, and a script needs no main guard.
        "workers": 0 if workers == 1 else workers,
        "job_timeout": job_timeout,
        "metric": metric,
        "mode": mode,
        "search": SearchSettings.parse("search", search or {}),
        "race": RaceSettings.parse("race", raced),
        "composed": {
            "space": dict(space) if isinstance(space, Mapping) else {},
            "n_trials": n_trials,
            "seed": seed,
            "metric": metric,
            "search": dict(search or {}),
            "race": dict(race or {}),
        },
    }
    if isinstance(task, StandaloneTask):
        given["max_epochs"] = 1 if max_epochs is None else max_epochs
    elif max_epochs is not None:
        given["max_epochs"] = max_epochs
    if baselines is not None:
        given["baselines"] = read_baselines(baselines)
    return StudySettings.parse("", given)


def check_picklable(task: Task, workers: int) -> None:
    """Refuse a task that worker processes could not be sent.

    Raises:
        ConfigError: It cannot be pickled, and there are several workers.
    """
    if workers < 2:
        return
    try:
        pickle.dumps(task)
    except Exception as error:  # pickle raises what the object raises
        raise ConfigError(
            f"workers must be 1 for what cannot be pickled, but got {workers} "
            f"({shortened(str(error))}): define it at the top level of a module, or use workers=1"
        ) from error
