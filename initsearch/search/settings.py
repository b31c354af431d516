"""The settings of a study: typed, checked once, and hashed into the names of studies."""

import math
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Self, get_args

from pydantic import (
    BeforeValidator,
    Field,
    SkipValidation,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
    model_validator,
)

from initsearch.digests import short_hash
from initsearch.errors import ConfigError
from initsearch.plan import InitPlan
from initsearch.race import Boundary, RaceRules
from initsearch.search.jobs.time_limits import JobTimeout
from initsearch.search.metric import MODES, make_metric
from initsearch.search.trials import PRUNERS, SAMPLERS
from initsearch.settings import Settings, one_of
from initsearch.space import Space
from initsearch.tasks import Task
from initsearch.training import TrainerSettings

#: Each study seed has this many block seeds of its own, so studies of different seeds share no block.
SEEDS_PER_STUDY = 10_000
#: The race's seeds start here: selection and confirmation never share a seed.
FIRST_RACE_BLOCK = 1_000
#: Trainer settings that change the numbers, not only where they are computed.
ARITHMETIC = ("precision", "autocast", "channels_last")

Count = Annotated[int, Field(ge=1)]


def _as_given(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    """The number, checked; an integer stays one."""
    checked = check(value)
    return value if isinstance(value, int) else checked


#: Integers are kept as they are: hashes, and so the names of studies, are of settings as they were given.
Number = Annotated[float, WrapValidator(_as_given)]


class SearchSettings(Settings):
    """The config group `search`: how candidates are found and dropped before the race.

    Attributes:
        seeds: Seeds on which each candidate is trained; its score is the mean over them.
        cohort_size: Candidates that are proposed, trained and compared together.
        open_cohorts: Cohorts in training at a time. More keep more workers busy, with fewer the sampler learns
            sooner. The number of workers does not change what is found.
        first_rung: The first budget at which candidates are compared, as a share of `max_epochs`.
        reduction_factor: About one in this many candidates passes a rung; budgets grow by the same factor.
        reserve: Share of the candidates at a rung that pass because they would be the best at full budget if
            they kept rising: slow starters, for which each candidate is validated once more before the first
            rung. 0: none. Metrics of whole curves have none.
        sampler: How new candidates are proposed (`auto`, `tpe`, `random`, `grid`).
        pruner: How candidates are dropped at a rung (`halving`, `median`, `none`).
        screen: Whether candidates that cannot learn, by exact checks, are dropped before they are trained.
        probe_steps: Steps on one seed after which candidates are put in order: those that have learned
            something by then are trained first, and none is dropped. 0: no such order.
    """

    seeds: Annotated[int, Field(ge=1, le=FIRST_RACE_BLOCK)] = 2
    cohort_size: Count = 8
    open_cohorts: Count = 3
    first_rung: Annotated[Number, Field(gt=0, le=1)] = 0.25
    reduction_factor: Annotated[Number, Field(gt=1)] = 2.0
    reserve: Annotated[Number, Field(ge=0, lt=1)] = 0.125
    sampler: Annotated[str, one_of("search.sampler", SAMPLERS)] = "auto"
    pruner: Annotated[str, one_of("search.pruner", PRUNERS)] = "halving"
    screen: bool = True
    probe_steps: Annotated[int, Field(ge=0)] = 20


def _name(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("must be text")
    if not str(value).strip():
        raise ValueError("must not be empty")  # pydantic's protocol
    return str(value)


def _looks(value: object) -> object:
    if not isinstance(value, list | tuple) or not value:
        raise ValueError("must be a list of numbers of seeds")
    return tuple(value)


class RaceSettings(Settings):
    """The config group `race`: how the short list is compared.

    Attributes:
        max_seeds: Seeds at most.
        alpha: Accepted chance of a false winner.
        margin: The smallest difference that matters: percentage points for accuracies of `METRICS`, else in
            the metric's unit.
        looks: Numbers of seeds after which a decision is tried, declared beforehand.
        futility: The race ends undecided if the remaining seeds would decide it with a probability below this;
            0: never.
        shortlist: Number of scheme families that enter, besides the baseline.
        boundary: How alpha is spent over the looks (`obrien_fleming`, `linear` or `moderated`,
            see `RaceRules`).
    """

    max_seeds: Annotated[int, Field(ge=2, le=SEEDS_PER_STUDY - FIRST_RACE_BLOCK)] = 12
    alpha: Number = 0.05
    margin: Number = 0.1
    looks: Annotated[tuple[int, ...], BeforeValidator(_looks)] = (4, 6, 8, 12, 16, 24, 32)
    futility: Number = 0.05
    shortlist: Count = 4
    boundary: Annotated[Boundary, one_of("race.boundary", get_args(Boundary))] = "obrien_fleming"

    @model_validator(mode="after")
    def _check_rules(self) -> Self:
        self.rules(self.margin)  # raises what a race refuses
        return self

    def rules(self, margin: float, **of_the_metric: Any) -> RaceRules:
        """The race's rules.

        Args:
            margin: The margin in units of the metric.
            of_the_metric: The fields of `RaceRules` that are not settings.

        Raises:
            ConfigError: A number outside its range.
        """
        return RaceRules(
            alpha=self.alpha,
            margin=margin,
            looks=self.looks,
            max_seeds=self.max_seeds,
            futility=self.futility,
            boundary=self.boundary,
            **of_the_metric,
        )


def _timeout(value: object) -> object:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if value in (None, "auto") or (is_number and 0 < value < math.inf):  # type: ignore[operator]
        return value
    raise ValueError("must be a number of seconds above 0, auto, or null (no limit)")


def _path(value: object) -> object:
    if isinstance(value, str) and value.strip():
        return Path(value)
    if not isinstance(value, Path):
        raise ValueError("must be the path of a folder; the current one is output_dir=.")
    return value


class StudySettings(Settings):
    """All settings of a study.

    Attributes:
        name: The sweep's name.
        architecture: The model's short name.
        task: What is trained; its `lr` is used if the space has none.
        trainer: Lightning's accelerator, devices, strategy and precision, and the cohort's engine.
        space: What may vary.
        output_dir: Where everything is written.
        baselines: Plans that are candidates from the start, by name; the first is the verdict's baseline.
        n_trials: Candidates in total, baselines included.
        max_epochs: The full budget.
        seed: From which every seed of a training is derived.
        workers: Processes that train; 0: the calling process trains, which has no time limit.
        job_timeout: The seconds that a job (the training of a cohort up to a rung, or a test) may take. Where a
            cohort takes longer, its candidates train alone, and one that takes longer again has failed. `auto`:
            10 times as long per candidate and epoch as the slowest job of this run, but at least 10 minutes;
            while no job has ended, 30 s per candidate and step. None: no limit.
        metric: What candidates are compared by: a key of `METRICS`, or, with `mode`, a score of the task.
        mode: Whether a score of the task is better the higher (`max`) or the lower (`min`) it is; None for a
            metric of `METRICS`, which has a direction.
        target_accuracy: The validation accuracy to which the metric `steps_to_target` counts steps.
        evaluations_per_epoch: How often candidates are validated, if the metric uses whole curves.
        search: How candidates are found.
        race: How the short list is compared.
        composed: The whole configuration as it was composed, for the records.
    """

    name: Annotated[str, BeforeValidator(_name)]
    architecture: str
    task: SkipValidation[Task]
    trainer: TrainerSettings
    space: SkipValidation[Space]
    output_dir: Annotated[Path, BeforeValidator(_path)]
    baselines: Mapping[str, Any] = Field(default={"torch_default": "torch_default"})
    n_trials: Count = 16
    max_epochs: Annotated[Number, Field(gt=0)] = 4.0
    seed: Annotated[int, Field(ge=0)] = 0
    workers: Annotated[int, Field(ge=0)] = 1
    job_timeout: Annotated[JobTimeout, BeforeValidator(_timeout)] = "auto"
    metric: str = "val_accuracy"
    mode: Annotated[str, one_of("mode", MODES)] | None = None
    target_accuracy: Number = 0.9
    evaluations_per_epoch: Count = 10
    search: SearchSettings = SearchSettings()
    race: RaceSettings = RaceSettings()
    composed: Mapping[str, Any] = Field(default_factory=dict)

    @field_validator("baselines")
    @classmethod
    def _check_plans(cls, baselines: Mapping[str, Any]) -> Mapping[str, Any]:
        if not baselines:
            raise ValueError("must name at least one plan")
        for name, plan in baselines.items():
            try:
                InitPlan.from_spec(plan)
            except ConfigError as error:
                raise ConfigError(f"baseline {name!r}: {error}") from error
        return baselines

    @model_validator(mode="after")
    def _check_metric(self) -> Self:
        make_metric(self.metric, self.target_accuracy, self.mode)  # raises what a metric refuses
        return self

    @property
    def search_seeds(self) -> tuple[int, ...]:
        """The seeds of the search."""
        return tuple(self.seed * SEEDS_PER_STUDY + index for index in range(self.search.seeds))

    def race_seed(self, index: int) -> int:
        """The seed of the race's block `index`, from 0."""
        return self.seed * SEEDS_PER_STUDY + FIRST_RACE_BLOCK + index

    def identity(self, contents: Any = None) -> str:
        """A short hash of everything on which a candidate's curves depend: it identifies the study.

        The numbers of candidates, seeds and workers are not part of it: with more of them the study is
        extended.

        Args:
            contents: What identifies the data that were found; see `TaskInfo`.
        """
        task = self.task.key()
        if self.task.lr is not None:  # part of a candidate's own key, and so not of the task's
            task["optimizer"] = {**task.get("optimizer", {}), "lr": self.task.lr}
        parts = {
            **task,
            "dataset": contents,
            "arithmetic": [getattr(self.trainer, key) for key in ARITHMETIC],
            "space": self.space.key(),
            # The plans themselves: a file may have been edited.
            "baselines": {
                name: InitPlan.from_spec(plan).spec() for name, plan in self.baselines.items()
            },
            "max_epochs": self.max_epochs,
            "seed": self.seed,
            "metric": [
                *(self.metric, self.target_accuracy, self.evaluations_per_epoch),
                *([] if self.mode is None else [self.mode]),
            ],
            # Under its first name: it is part of the names of studies.
            "search": _text("SearchRules", self.search),
        }
        return short_hash(parts)

    def request(self, contents: Any = None) -> str:
        """A short hash of what a verdict is requested for: the study, `n_trials` and the race."""
        return self._request(contents, _text("RaceSettings", self.race))

    def race_request(self, contents: Any = None) -> str:
        """A short hash of the requested race: one that continues after a futile end is the same race."""
        return self._request(contents, self._race_text())

    def race_key(self, contents: Any, entrants: Iterable[str]) -> str:
        """A short hash of a race that is run: more trials that bring no other entrant do not make it another.

        Args:
            contents: What identifies the data that were found; see `TaskInfo`.
            entrants: The names of the candidates in the race.
        """
        parts = {"study": self.identity(contents), "entrants": sorted(entrants)}
        return short_hash({**parts, "race": self._race_text()})

    def _race_text(self) -> str:
        race = self.race
        # A later setting that is left at its default does not make a race of an earlier version another one.
        later = ("boundary",) if race.boundary == RaceRules.boundary else ()
        return _text("RaceSettings", race, leave_out=later, futility="0.0")

    def _request(self, contents: Any, race: str) -> str:
        study = self.identity(contents)
        return short_hash({"study": study, "n_trials": self.n_trials, "race": race})


def _text(
    name: str, settings: Settings, *, leave_out: Collection[str] = (), **replaced: str
) -> str:
    """Settings as text for a hash, some values left out or replaced by others."""
    fields = [key for key in type(settings).model_fields if key not in leave_out]
    texts = {key: repr(getattr(settings, key)) for key in fields}
    return f"{name}({', '.join(f'{key}={text}' for key, text in (texts | replaced).items())})"
