"""Optuna's record of a study: its trials, in a journal file that several studies share."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

#: How candidates are dropped at a rung; `halving` is decided by the search's own `RungTable`.
PRUNERS = ("halving", "median", "none")


class TrialStore:
    """The trials of one study, by number.

    Args:
        journal: Optuna's journal file; made if missing.
        name: The study's name in it.
        metric: The name of what is optimized.
        higher_is_better: Its direction.
        pruner: One of `PRUNERS`.

    Attributes:
        stored: The trials that earlier runs left, as they were when this one began.
        count: Number of trials in the store, those that wait included.
    """

    def __init__(
        self, journal: Path, name: str, *, metric: str, higher_is_better: bool, pruner: str
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._name = name
        self._storage = JournalStorage(JournalFileBackend(str(journal)))
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


@contextmanager
def experimental() -> Iterator[None]:
    """Use a feature that Optuna calls experimental without its warning at every trial."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield
