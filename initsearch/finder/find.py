"""`init_find`: a search over initializations of what a user already has, in one call."""

import os
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from torch import nn

from initsearch.checks import check_choice
from initsearch.errors import ConfigError, quoted
from initsearch.finder.default_space import default_space
from initsearch.finder.result import InitFindResult
from initsearch.finder.settings import check_picklable, make_settings
from initsearch.search.jobs.time_limits import JobTimeout
from initsearch.search.metric import MODES
from initsearch.space import Space
from initsearch.study_run import run_study
from initsearch.tasks import Task
from initsearch.tasks.score import ScoreTask

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer

    from initsearch.tasks.lightning import LightningTask
    from initsearch.tasks.lightning_fit import UsersFit

#: The baseline of a module that is built for each fit: what the user has now.
AS_BUILT: Mapping[str, Any] = {"as_built": {"default": {"weight": "keep", "bias": "keep"}}}
EXAMPLE_SPACE = (
    "space={'groups': {'all': {'weight': ['he_normal', 'glorot_uniform', 'orthogonal']}}}"
)


def init_find(
    model: "LightningModule | Callable[..., Any] | Task",
    train_dataloaders: Any = None,
    val_dataloaders: Any = None,
    *,
    test_dataloaders: Any = None,
    datamodule: Any = None,
    trainer: "Trainer | None" = None,
    space: Space | Mapping[str, Any] | str | os.PathLike[str] | None = None,
    metric: str | None = None,
    mode: str | None = None,
    test_metric: str | None = None,
    configure: "Callable[[LightningModule, float], Any] | None" = None,
    budget: float | None = None,
    baselines: str | Mapping[str, Any] | Sequence[str] | None = None,
    n_trials: int = 16,
    seed: int = 0,
    workers: int = 1,
    engine: str = "auto",
    job_timeout: JobTimeout = "auto",
    name: str | None = None,
    output_dir: str | os.PathLike[str] = "outputs",
    search: Mapping[str, Any] | None = None,
    race: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> InitFindResult:
    """Search initializations and race the best of them on fresh seeds.

    With a LightningModule and a `Trainer`, each candidate of each seed has a `Trainer.fit` of its own with
    `InitCallback(plan, seed)`, on copies: model, data and Trainer are left as they are. First, two batches are
    trained and validated, which reports what is wrong before any long work.

    Args:
        model: One of

            - a LightningModule. It is copied as it is for each candidate. What no plan fills is the same on
              every seed, and the baseline is `torch_default`.
            - with `trainer`, a function or class that builds one without arguments. It is called for each
              candidate, after seeding, and the baseline is the model as built.
            - without `trainer`, a function `score(plan, seed)`, or `score(plan, seed, budget)` if `budget` is
              given. It trains what it likes, initialized by the plan (`plan.apply(model, seed=seed)`), and
              returns one number; it may use any library. All that is random in it should depend on `seed`.
              One that raises an error fails its candidate, one that returns NaN counts as diverged.
            - a task (`initsearch.tasks.Task`).
        train_dataloaders: As `Trainer.fit` takes them.
        val_dataloaders: As `Trainer.fit` takes them.
        test_dataloaders: As `Trainer.test` takes them. Where there are some, or a `test_dataloader`, and the
            module has a `test_step`, the leader of the race and the baseline are tested once, after the
            decision.
        datamodule: As `Trainer.fit` takes it.
        trainer: The Trainer of the module, with one device. Its `max_epochs` or `max_steps` are the full
            budget. Copies of it have no progress bar, no checkpoints and no logger.
        space: What may vary; see `Space.from_spec`. Default: schemes that suit the activations of the module.
            With `lr`, each scheme is tried at several learning rates, so that none wins by the one rate that
            suits it.
        metric: What candidates are compared by: for a module, a name that it logs (`val/acc`).
        mode: `max` if higher is better, `min` if lower is. It must be given for a module; for a function it is
            `max` by default; a metric of the command line has its own direction.
        test_metric: What `test_step` logs; None: the name of the metric with `test` for `val` (`test/acc`).
        configure: Sets the learning rate of a module, `configure(module, lr)`, if the space has `lr`. None: the
            module's attribute or hyperparameter `lr` or `learning_rate` is set.
        budget: For a function: the full budget in its own unit (epochs, steps, episodes). With it, weak
            candidates are dropped at smaller budgets; the function is called again, from the start, for a
            larger one. For a task: epochs.
        baselines: Plans that are candidates from the start: names, or a mapping of names to plans. The first is
            the baseline of the verdict.
        n_trials: Candidates in total, including baselines.
        seed: From which the seeds of all trainings are derived.
        workers: Training processes. One is this process. With more than one, everything must be picklable:
            functions and classes defined at the top level of a module.
        engine: For a module: how the candidates of a seed are trained. `trainer`: one `Trainer.fit` after the
            other. `loop`: the fits take turns, and each batch is loaded and augmented once for all of them.
            `auto`: `loop`, if a few steps of it give the numbers of `trainer`. The scores are the same.
            `stacked`: a loop in which the training steps of all fits are one pass of `torch.func`, if a few
            steps agree; the scores are the same up to rounding. On a CPU `loop` was faster.
        job_timeout: With several workers, the seconds that the trainings of one job may take; a candidate that
            takes longer has failed. `auto`: a generous multiple of what others took; None: no limit.
        name: The study's name. A study that has a name is resumed if it was run before: give another name if
            something has changed that the scores depend on. None: a new study each time.
        output_dir: Where the study's folder, MLflow's and Optuna's records are written.
        search: Settings of the config group `search` (`seeds`, `cohort_size`, `reduction_factor`, ...).
        race: Settings of the config group `race` (`max_seeds`, `alpha`, `margin`, ...). The margin is in the
            metric's own unit; its default is 0 for a metric of your own, with which no two candidates are
            equivalent, and for a metric of the command line what suits it, as there.
        progress: Whether a progress bar is shown.

    Returns:
        The verdict, with the plan to take.

    Raises:
        ConfigError: An argument breaks a rule, or the module logs no such metric.
        DataError: There are no validation data.
        ModelError: The module cannot be trained.
        InitSearchError: Fewer than two candidates could be trained.

    Example:
        >>> found = init_find(Net, datamodule=data, trainer=Trainer(max_epochs=5), metric="val/acc", mode="max")
        >>> print(found.verdict.sentence)
        >>> found.suggestion().save("plan.yaml")
    """
    version = datetime.now().isoformat() if name is None else ""
    data = {
        "train_dataloaders": train_dataloaders,
        "val_dataloaders": val_dataloaders,
        "datamodule": datamodule,
    }
    data = {key: value for key, value in data.items() if value is not None}
    task: Task
    if isinstance(model, Task):
        task, label = model, type(model).__name__
    elif trainer is not None:
        users = _users_fit(model, trainer, data, test_dataloaders, configure)
        rates = () if space is None else _rates(Space.from_spec(space))
        found = _lightning_task(users, metric, mode, version, engine, rates, test_metric)
        task, label, metric = found, found.found.name, found.metric
        budget = found.epochs if budget is None else budget
        space = default_space(found.slots()) if space is None else space
        baselines = AS_BUILT if baselines is None and found.users.builds else baselines
        # A candidate that passes a rung is trained again from the start: fewer rungs cost less.
        search = {"reduction_factor": 4, **(search or {})}
    else:
        if isinstance(model, nn.Module) or data:
            raise ConfigError(
                "trainer must be given for a LightningModule: trainer=Trainer(max_epochs=...)"
            )
        task = ScoreTask(model, budget, metric or "score", version)
        label = task.label
    if space is None:
        raise ConfigError(f"space must be given for {label}: try {EXAMPLE_SPACE}")
    check_picklable(task, workers)
    settings = make_settings(
        task,
        name=name or "init_find",
        architecture=label,
        space=space,
        max_epochs=budget,
        metric=metric or "score",
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
    done = run_study(settings, progress=progress)
    return InitFindResult(done.verdict, done.folder)


def _users_fit(
    model: Any,
    trainer: "Trainer",
    data: Mapping[str, Any],
    test_dataloaders: Any,
    configure: Callable[..., Any] | None,
) -> "UsersFit":
    """What a user passes to `fit` and `test`."""
    from initsearch.tasks.lightning_fit import UsersFit

    if not isinstance(model, nn.Module) and not callable(model):
        raise ConfigError(
            f"model must be a LightningModule, or a function that builds one, but got {quoted(model)}"
        )
    if configure is not None and not callable(configure):
        raise ConfigError(
            f"configure must be a function that sets a rate, but got {quoted(configure)}: "
            "give configure=lambda module, lr: ..."
        )
    return UsersFit(model, trainer, data, test_dataloaders, configure)


def _rates(space: Space) -> tuple[float, ...]:
    """The ends of the learning rates of a space; none if it has none."""
    domain = space.lr
    if domain is None:
        return ()
    return tuple(float(str(value)) for value in domain.examples())


def _lightning_task(
    users: "UsersFit",
    metric: str | None,
    mode: str | None,
    version: str,
    engine: str,
    rates: Sequence[float],
    test_metric: str | None,
) -> "LightningTask":
    """The task of a user's own module, after a short fit."""
    from initsearch.tasks.lightning import LightningTask
    from initsearch.tasks.lightning_engines import ENGINES, Engine

    if metric is None or mode is None:
        raise ConfigError(
            "metric and mode must be given for a LightningModule: metric='val/acc', mode='max'"
        )
    check_choice("mode", mode, MODES)
    check_choice("engine", engine, ENGINES)
    return LightningTask.probed(
        users,
        metric,
        version,
        cast("Engine", engine),
        rates=rates,
        test_metric=test_metric,
        mode=mode,
    )
