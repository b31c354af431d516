"""`init_find`: a search over initializations for a function or a task of one's own, in one call."""

import os
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from initsearch.finder.result import InitFindResult
from initsearch.finder.settings import check_picklable, make_settings
from initsearch.search.time_limits import JobTimeout
from initsearch.space import Space
from initsearch.study_run import run_study
from initsearch.tasks import Task
from initsearch.tasks.score import ScoreTask


def init_find(
    score: Callable[..., float] | Task,
    *,
    space: Space | Mapping[str, Any] | str | os.PathLike[str],
    budget: float | None = None,
    metric: str = "score",
    mode: str | None = None,
    baselines: Mapping[str, Any] | Sequence[str] | None = None,
    n_trials: int = 16,
    seed: int = 0,
    workers: int = 1,
    job_timeout: JobTimeout = "auto",
    name: str | None = None,
    output_dir: str | os.PathLike[str] = "outputs",
    search: Mapping[str, Any] | None = None,
    race: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> InitFindResult:
    """Search initializations and race the best of them on fresh seeds, for anything that can be scored.

    Args:
        score: A function `score(plan, seed)`, or `score(plan, seed, budget)` if `budget` is given. It trains
            what it likes, initialized by the plan (`plan.apply(model, seed=seed)`), and returns one number; it
            may use any library. All that is random in it should depend on `seed`. One that raises an error
            fails its candidate, one that returns NaN counts as diverged. Or a task (`initsearch.tasks.Task`).
        space: What may vary; see `Space.from_spec`.
        budget: The full budget in the function's own unit (epochs, steps, episodes). With it, weak candidates
            are dropped at smaller budgets; the function is called again, from the start, for a larger one.
        metric: What the score is called. For a task: a name of its scores, or a metric of the command line.
        mode: `max` if higher is better, `min` if lower is. Default: `max`; a metric of the command line has its
            own direction.
        baselines: Plans that are candidates from the start: names, or a mapping of names to plans. The first is
            the baseline of the verdict. Default: `torch_default`.
        n_trials: Candidates in total, including baselines.
        seed: From which the seeds of all trainings are derived.
        workers: Training processes. One is this process. With more than one, the function must be picklable:
            defined at the top level of a module.
        job_timeout: With several workers, the seconds that the trainings of one job may take; a candidate that
            takes longer has failed. `auto`: a generous multiple of what others took; None: no limit.
        name: The study's name. A study that has a name is resumed if it was run before: give another name if
            something has changed that the function depends on. None: a new study each time.
        output_dir: Where the study's folder, MLflow's and Optuna's records are written.
        search: Settings of the config group `search` (`seeds`, `cohort_size`, `reduction_factor`, ...).
        race: Settings of the config group `race` (`max_seeds`, `alpha`, `margin`, ...). The margin is in the
            metric's own unit; here its default is 0, with which no two candidates are equivalent.
        progress: Whether a progress bar is shown.

    Returns:
        The verdict, with the plan to take.

    Raises:
        ConfigError: An argument breaks a rule.
        InitSearchError: Fewer than two candidates could be trained.
    """
    if isinstance(score, Task):
        task, label = score, type(score).__name__
    else:
        version = datetime.now().isoformat() if name is None else ""
        task = ScoreTask(score, budget, metric, version)
        label = task.label
    check_picklable(task, workers)
    settings = make_settings(
        task,
        name=name or "init_find",
        architecture=label,
        space=space,
        max_epochs=budget,
        metric=metric,
        mode=mode,
        baselines=baselines,
        n_trials=n_trials,
        seed=seed,
        workers=workers,
        job_timeout=job_timeout,
        output_dir=output_dir,
        search=search,
        race=race,
    )
    found = run_study(settings, progress=progress)
    return InitFindResult(found.verdict, found.folder)
