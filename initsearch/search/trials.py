"""Optuna's part of a study: its trials in a journal file, the samplers that propose, and the pruners."""

import json
import math
import sys
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import (
    JournalFileBackend,
    JournalFileOpenLock,
    JournalFileSymlinkLock,
)
from optuna.trial import FrozenTrial, TrialState

from initsearch.errors import ConfigError
from initsearch.files import write_whole
from initsearch.space import Space

#: `auto`: every candidate of a space that is finite and fits into `n_trials`, else TPE.
SAMPLERS = ("auto", "tpe", "random", "grid")

#: Draws after the first where TPE would repeat a candidate; if all repeat one, little is left to try.
MOST_REDRAWS = 20

#: A larger grid is most likely a mistake.
MAX_GRID = 10_000

#: How candidates are dropped at a rung; `halving` is decided by the search's own `RungTable`.
PRUNERS = ("halving", "median", "none")


def journal_lock(journal: Path) -> JournalFileOpenLock | JournalFileSymlinkLock:
    """The lock of a journal's writers: a symbolic link, which Windows does not let everybody make."""
    kind = JournalFileOpenLock if sys.platform == "win32" else JournalFileSymlinkLock
    return kind(str(journal))


def mend_journal(journal: Path, report: Callable[[str], None]) -> None:
    """Cut a damaged journal after its last whole record, and keep a copy of what it was.

    A run that was killed, or a power cut, leaves a torn last line. Optuna refuses to read on from there, for
    every study of the file. A trial whose record is lost is proposed again, with the same result.

    Args:
        journal: Optuna's journal file.
        report: Gets one line if it is damaged.
    """
    if not journal.exists() or _whole_length(journal.read_bytes()) is None:
        return
    lock = journal_lock(journal)
    lock.acquire()
    try:
        data = journal.read_bytes()
        length = _whole_length(data)
        if length is not None:
            aside = journal.with_name(f"{journal.name}.damaged")
            write_whole(aside, data)
            write_whole(journal, data[:length])
            report(
                f"{journal} is damaged: its {length} whole bytes of {len(data)} are used, {aside.name} is a "
                "copy of what it was"
            )
    finally:
        lock.release()


def _whole_length(data: bytes) -> int | None:
    """The number of bytes of a journal's whole records; None if that is all of it."""
    length = 0
    for line in data.splitlines(keepends=True):
        try:
            is_whole = line.endswith(b"\n") and "op_code" in json.loads(line)
        except (ValueError, TypeError):
            is_whole = False
        if not is_whole:
            return length
        length += len(line)
    return None


class TrialStore:
    """The trials of one study, by number.

    Args:
        journal: Optuna's journal file; made if missing.
        name: The study's name in it.
        metric: The name of what is optimized.
        higher_is_better: Its direction.
        pruner: One of `PRUNERS`.
        report: Gets one line if the journal is damaged.

    Attributes:
        stored: The trials that earlier runs left, as they were when this one began.
        count: Number of trials in the store, those that wait included.
    """

    def __init__(
        self,
        journal: Path,
        name: str,
        *,
        metric: str,
        higher_is_better: bool,
        pruner: str,
        report: Callable[[str], None],
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._name = name
        mend_journal(journal, report)
        self._storage = JournalStorage(
            JournalFileBackend(str(journal), lock_obj=journal_lock(journal))
        )
        self._pruner = make_pruner(pruner)
        self._study = optuna.create_study(
            study_name=name,
            storage=self._storage,
            direction="maximize" if higher_is_better else "minimize",
            load_if_exists=True,
        )
        with experimental():
            self._study.set_metric_names([metric])
        self._study_id = self._storage.get_study_id_from_name(name)
        self.stored: list[FrozenTrial] = self._study.get_trials(deepcopy=False)
        self.count = len(self.stored)

    def enqueue(self, params: Mapping[str, Any], attributes: Mapping[str, Any]) -> None:
        """Add a trial whose parameters are fixed; it waits until it is opened."""
        self._study.enqueue_trial(dict(params), user_attrs=dict(attributes))
        self.count += 1

    def open(self, number: int, sampler: optuna.samplers.BaseSampler) -> optuna.Trial:
        """A trial to suggest parameters with and to report to: one that waits or is unfinished, or the next.

        `Study.ask` would first look through all trials for one that waits: 4 ms of 9 ms at 10,000 trials, and
        growing. The storage finds a trial by its number at once. Each trial has an `optuna.Study` of its own,
        so that its sampler sees all trials opened before (a study caches them until its next ask or tell).

        Args:
            number: At most `count`, which makes a new trial.
            sampler: Proposes its parameters.
        """
        study = optuna.load_study(
            study_name=self._name, storage=self._storage, sampler=sampler, pruner=self._pruner
        )
        if number == self.count:
            trial_id = self._storage.create_new_trial(self._study_id)
            self.count += 1
        else:
            trial_id = self._storage.get_trial_id_from_study_id_trial_number(self._study_id, number)
            if self._storage.get_trial(trial_id).state is TrialState.WAITING:
                self._storage.set_trial_state_values(trial_id, TrialState.RUNNING)
        return optuna.Trial(study, trial_id)

    def finish(self, trial: optuna.Trial, state: TrialState, score: float | None = None) -> None:
        """Record how a trial ended; `score` for a complete one."""
        self._study.tell(trial, score, state=state)


def make_pruner(name: str) -> optuna.pruners.BasePruner:
    """Optuna's pruner of that name; one that never prunes for `halving`, which is not Optuna's here."""
    if name == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=4)
    return optuna.pruners.NopPruner()


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


@contextmanager
def experimental() -> Iterator[None]:
    """Use a feature that Optuna calls experimental without its warning at every trial."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield
