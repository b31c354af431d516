"""How candidates are proposed: the choice of a sampler, and Optuna's samplers with a seed for every draw."""

import math
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from initsearch.errors import ConfigError
from initsearch.search.trial_store import experimental
from initsearch.space import Space

#: `auto`: every candidate of a space that is finite and fits into `n_trials`, else TPE.
SAMPLERS = ("auto", "tpe", "random", "grid")

#: Draws after the first where TPE would repeat a candidate; if all repeat one, little is left to try.
MOST_REDRAWS = 20

#: A larger grid is most likely a mistake.
MAX_GRID = 10_000


def resolve_sampler(name: str, space: Space, n_trials: int, n_fixed: int) -> str:
    """`tpe`, `random` or `grid`.

    Args:
        name: The configured sampler.
        space: What may vary.
        n_trials: Candidates in total.
        n_fixed: How many of them are baselines.

    Raises:
        ConfigError: A grid over a space that is not finite, or too large.
    """
    if name == "auto":
        return "grid" if space.size <= n_trials - n_fixed else "tpe"
    if name == "grid" and space.size > MAX_GRID:
        size = "infinitely many" if math.isinf(space.size) else f"{space.size:.0f}"
        raise ConfigError(
            f"search.sampler=grid needs a space of at most {MAX_GRID} candidates, but this one has {size}: "
            "replace its ranges by lists of choices, or use search.sampler=tpe"
        )
    return name


def make_sampler(
    name: str, seed: int, is_new: Callable[[Mapping[str, Any]], bool]
) -> optuna.samplers.BaseSampler:
    """The sampler of one trial; with one per trial, a resumed search proposes the same candidates.

    Args:
        name: `tpe`; any other name draws at random.
        seed: The trial's seed.
        is_new: Whether parameters that TPE has drawn make a candidate that was not proposed before. If not, it
            draws again: if the best scheme has nothing to tune, it would propose that scheme forever. The first
            trials, drawn at random until ten have ended, may repeat each other.
    """
    return _Tpe(seed, is_new) if name == "tpe" else _Random(seed)


class _Random(optuna.samplers.RandomSampler):
    """Draws each parameter with a seed of its own.

    A trial that is interrupted between two of its parameters then gets the same second one.
    """

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self._trial_seed = seed

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: Any
    ) -> Any:
        own = optuna.samplers.RandomSampler(_seed_of(self._trial_seed, param_name))
        return own.sample_independent(study, trial, param_name, param_distribution)


class _Tpe(optuna.samplers.TPESampler):
    """TPE for one trial of a conditional space; parameters that it draws one by one have seeds of their own."""

    def __init__(self, seed: int, is_new: Callable[[Mapping[str, Any]], bool]) -> None:
        # group: parameters of different schemes are modelled apart, as a conditional space requires.
        with experimental():
            super().__init__(seed=seed, multivariate=True, group=True, constant_liar=True)
            # Draws from the good region at random, for when the best guess was proposed before.
            self._likely = optuna.samplers.TPESampler(
                n_ei_candidates=1, seed=seed, multivariate=True, group=True, constant_liar=True
            )
        self._trial_seed = seed
        self._is_new = is_new

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, Any]
    ) -> dict[str, Any]:
        drawn = super().sample_relative(study, trial, search_space)
        if not drawn or self._is_new(drawn):
            return drawn
        self._likely.infer_relative_search_space(study, trial)
        for _ in range(MOST_REDRAWS):
            # The last draw stands, new or not: it is the one that Optuna stores.
            drawn = self._likely.sample_relative(study, trial, search_space)
            if self._is_new(drawn):
                break
        return drawn

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: Any
    ) -> Any:
        with experimental():
            own = optuna.samplers.TPESampler(
                seed=_seed_of(self._trial_seed, param_name), multivariate=True, constant_liar=True
            )
        return own.sample_independent(study, trial, param_name, param_distribution)


def _seed_of(trial_seed: int, parameter: str) -> int:
    return zlib.crc32(f"{trial_seed}:{parameter}".encode())
