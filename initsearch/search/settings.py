"""What a study is made of, checked once before anything trains."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from initsearch.digests import short_hash
from initsearch.errors import ConfigError, unknown_name
from initsearch.plan import InitPlan
from initsearch.race.rules import RaceRules
from initsearch.search.metric import make_metric
from initsearch.search.sampling import SAMPLERS
from initsearch.search.trial_store import PRUNERS
from initsearch.space import Space
from initsearch.tasks import Task
from initsearch.training.trainer_settings import TrainerSettings

#: Trainer settings that change the numbers, not only where they are computed.
ARITHMETIC = ("precision", "autocast", "channels_last")


@dataclass(frozen=True)
class SearchRules:
    """How candidates are found and thinned out, before the race.

    Attributes:
        seeds: Blocks on which each candidate is trained; its score is the mean over them.
        cohort_size: Candidates that are asked for, trained and compared together.
        open_cohorts: Cohorts in training at a time. More keep more workers busy, fewer let the sampler learn
            sooner; how many workers there are changes nothing in what is found.
        first_rung: The first budget at which candidates are compared, as a share of `max_epochs`.
        reduction_factor: At each rung about one in so many goes on; budgets grow by the same factor.
        sampler: How new candidates are proposed (`auto`, `tpe`, `random`, `grid`).
        pruner: How candidates are dropped at a rung (`halving`, `median`, `none`).
        screen: Whether candidates that cannot learn, by exact checks, are dropped before they are trained.
        probe_steps: Steps on one block after which candidates are put in order: those that have learned
            something by then go first. Nothing is dropped for it. 0: no such order.
    """

    seeds: int = 2
    cohort_size: int = 8
    open_cohorts: int = 3
    first_rung: float = 0.25
    reduction_factor: float = 2.0
    sampler: str = "auto"
    pruner: str = "halving"
    screen: bool = True
    probe_steps: int = 20

    def __post_init__(self) -> None:
        _at_least("search.seeds", self.seeds, 1)
        _at_least("search.probe_steps", self.probe_steps, 0)
        _at_least("search.cohort_size", self.cohort_size, 1)
        _at_least("search.open_cohorts", self.open_cohorts, 1)
        _number("search.first_rung", self.first_rung)
        _number("search.reduction_factor", self.reduction_factor)
        if not isinstance(self.screen, bool):
            raise ConfigError(f"search.screen must be true or false, but got {self.screen!r}")
        if not 0 < self.first_rung <= 1:
            raise ConfigError(f"search.first_rung must lie in (0, 1], but got {self.first_rung}")
        if not self.reduction_factor > 1:
            raise ConfigError(
                f"search.reduction_factor must be greater than 1, but got {self.reduction_factor}"
            )
        if self.sampler not in SAMPLERS:
            raise unknown_name("sampler", self.sampler, SAMPLERS)
        if self.pruner not in PRUNERS:
            raise unknown_name("pruner", self.pruner, PRUNERS)


@dataclass(frozen=True)
class RaceSettings:
    """How the short list is compared.

    Attributes:
        max_seeds: Blocks at most.
        alpha: Chance of a false winner that is accepted.
        margin: What counts as a difference, in percentage points for accuracies, else in the metric's unit.
        looks: Numbers of blocks after which a decision is tried, declared beforehand.
        futility: The race ends undecided where the blocks left would decide it with a chance below this; 0:
            never.
        shortlist: How many scheme families enter, besides the baseline.
    """

    max_seeds: int = 12
    alpha: float = 0.05
    margin: float = 0.1
    looks: tuple[int, ...] = (4, 6, 8, 12, 16, 24, 32)
    futility: float = 0.05
    shortlist: int = 4

    def __post_init__(self) -> None:
        _at_least("race.max_seeds", self.max_seeds, 2)
        _at_least("race.shortlist", self.shortlist, 1)
        _number("race.alpha", self.alpha)
        _number("race.margin", self.margin)
        if not isinstance(self.looks, tuple) or not self.looks:
            raise ConfigError(
                f"race.looks must be a list of numbers of blocks, but got {self.looks!r}: try [4,6,8,12]"
            )
        for look in self.looks:
            _at_least("race.looks", look, 2)
        _number("race.futility", self.futility)
        self.rules(self.margin)  # raises where a number is outside its range

    def rules(self, margin: float, **of_the_metric: Any) -> RaceRules:
        """The race's rules.

        Args:
            margin: The margin in units of the metric.
            of_the_metric: Those fields of `RaceRules` that are no settings.

        Raises:
            ConfigError: A number outside its range.
        """
        return RaceRules(
            alpha=self.alpha,
            margin=margin,
            looks=self.looks,
            max_seeds=self.max_seeds,
            futility=self.futility,
            **of_the_metric,
        )


@dataclass(frozen=True)
class StudySettings:
    """All of a study.

    Attributes:
        name: The sweep's name.
        architecture: The model's short name.
        task: What is trained; its optimizer's `lr` is used where the space has none.
        trainer: Lightning's accelerator, devices, strategy and precision, and the cohort's engine.
        space: What may vary.
        baselines: Plans that are candidates from the start, by name; the first is the verdict's baseline.
        output_dir: Where everything is written.
        n_trials: Candidates in total, baselines included.
        max_epochs: The full budget.
        seed: From which every block's seed is derived.
        workers: Processes that train.
        metric: What candidates are compared by.
        target_accuracy: The share of the validation images that the metric `steps_to_target` counts to.
        evaluations_per_epoch: How often candidates are validated, where the metric looks at whole curves.
        search: Rules of the search.
        race: Rules of the race.
        composed: The whole configuration as it was composed, for the records.
    """

    name: str
    architecture: str
    task: Task
    trainer: TrainerSettings
    space: Space
    output_dir: Path
    baselines: Mapping[str, Any] = field(default_factory=lambda: {"torch_default": "torch_default"})
    n_trials: int = 16
    max_epochs: float = 4.0
    seed: int = 0
    workers: int = 1
    metric: str = "val_accuracy"
    target_accuracy: float = 0.9
    evaluations_per_epoch: int = 10
    search: SearchRules = field(default_factory=SearchRules)
    race: RaceSettings = field(default_factory=RaceSettings)
    composed: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _at_least("n_trials", self.n_trials, 1)
        _at_least("workers", self.workers, 1)
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise ConfigError(f"seed must be an integer of at least 0, but got {self.seed!r}")
        _number("max_epochs", self.max_epochs)
        if not self.max_epochs > 0:
            raise ConfigError(f"max_epochs must be positive, but got {self.max_epochs}")
        if not self.baselines:
            raise ConfigError(
                "baselines must name at least one plan, but got none: try [torch_default]"
            )
        for name, plan in self.baselines.items():
            try:
                InitPlan.from_spec(plan)
            except ConfigError as error:
                raise ConfigError(f"baseline {name!r}: {error}") from error
        _number("target_accuracy", self.target_accuracy)
        make_metric(self.metric, self.target_accuracy)
        _at_least("evaluations_per_epoch", self.evaluations_per_epoch, 1)

    def identity(self, contents: Any = None) -> str:
        """A short hash of all that a candidate's curves depend on: another one is another study.

        Not in it: how many candidates and seeds are afforded, and on how many workers, since those only
        extend a study that stands.

        Args:
            contents: What identifies the data that were found; see `TaskInfo`.
        """
        optimizer = self.task.optimizer
        parts = {
            **self.task.key(),
            "dataset": contents,
            "optimizer": {**optimizer.key(), "lr": optimizer.lr},
            "arithmetic": [getattr(self.trainer, key) for key in ARITHMETIC],
            "space": self.space.key(),
            # The plans themselves: a file may have been edited.
            "baselines": {
                name: InitPlan.from_spec(plan).spec() for name, plan in self.baselines.items()
            },
            "max_epochs": self.max_epochs,
            "seed": self.seed,
            "metric": [self.metric, self.target_accuracy, self.evaluations_per_epoch],
            "search": repr(self.search),
        }
        return short_hash(parts)

    def request(self) -> str:
        """A short hash of what a verdict was asked for: the study, and what is afforded for it."""
        return self._request(self.race)

    def race_request(self) -> str:
        """A short hash of the race that was asked for: one that goes on where it was futile is the same."""
        return self._request(replace(self.race, futility=0.0))

    def _request(self, race: RaceSettings) -> str:
        return short_hash({"study": self.identity(), "n_trials": self.n_trials, "race": repr(race)})


def _number(argument: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ConfigError(f"{argument} must be a finite number, but got {value!r}")


def _at_least(argument: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(
            f"{argument} must be a whole number of at least {least}, but got {value!r}"
        )
