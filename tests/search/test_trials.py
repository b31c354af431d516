"""Optuna's part: trials are found by number, whatever state an earlier run left them in."""

import os
import sys
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from initsearch.errors import ConfigError
from initsearch.search.trials import (
    PRUNERS,
    TrialStore,
    make_pruner,
    make_sampler,
    mend_journal,
    resolve_sampler,
)
from initsearch.space import Space


def store_in(folder: Path, pruner: str = "none") -> TrialStore:
    return TrialStore(
        folder / "optuna.journal",
        "a",
        metric="score",
        higher_is_better=True,
        pruner=pruner,
        report=pytest.fail,
    )


def random(seed: int) -> optuna.samplers.BaseSampler:
    return make_sampler("random", seed, lambda params: True)


def test_no_symbolic_link_is_made_where_they_need_privileges(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(1314, "A required privilege is not held by the client")

    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(os, "symlink", refuse)
    store_in(tmp_path).open(0, random(3)).report(0.5, 4)
    with (tmp_path / "optuna.journal").open("ab") as file:
        file.write(b'{"torn')
    reports: list[str] = []
    mend_journal(tmp_path / "optuna.journal", reports.append)
    assert len(reports) == 1
    assert store_in(tmp_path).count == 1


def test_a_waiting_trial_is_opened_by_its_number_with_its_parameters(tmp_path) -> None:
    store = store_in(tmp_path)
    store.enqueue({"x": 0.25}, {"mark": "first"})
    store.enqueue({"x": 0.75}, {"mark": "second"})
    second = store.open(1, random(0))
    assert (second.number, second.user_attrs["mark"]) == (1, "second")
    assert second.suggest_float("x", 0, 1) == 0.75
    states = [trial.state for trial in store_in(tmp_path).stored]
    assert states == [TrialState.WAITING, TrialState.RUNNING]


def test_an_unfinished_trial_is_opened_again_with_what_it_has(tmp_path) -> None:
    first = store_in(tmp_path).open(0, random(3))
    drawn = first.suggest_float("x", 0, 1)
    first.report(0.5, 4)
    store = store_in(tmp_path)
    assert store.count == 1
    again = store.open(0, random(99))
    assert again.number == 0
    assert again.suggest_float("x", 0, 1) == drawn
    # The second parameter is drawn by the sampler of this run, from a seed of its own.
    assert again.suggest_float("y", 0, 1) == store.open(1, random(99)).suggest_float("y", 0, 1)
    store.finish(again, TrialState.COMPLETE, 0.5)
    found = store_in(tmp_path).stored[0]
    assert (found.state, found.value, found.intermediate_values) == (
        TrialState.COMPLETE, 0.5, {4: 0.5},
    )  # fmt: skip


def test_a_sampler_sees_the_trials_that_are_open(tmp_path) -> None:
    """TPE counts on it: open trials are taken for bad ones, so that proposals spread."""
    seen: list[int] = []

    class Counting(optuna.samplers.RandomSampler):
        def infer_relative_search_space(self, study, trial):  # type: ignore[no-untyped-def]
            seen.append(len(study.get_trials(deepcopy=False)))
            return super().infer_relative_search_space(study, trial)

    store = store_in(tmp_path)
    for number in range(3):
        store.open(number, Counting()).suggest_float("x", 0, 1)
    assert seen == [1, 2, 3]


def test_a_trial_prunes_by_the_study_s_pruner(tmp_path) -> None:
    store = store_in(tmp_path, "median")
    for number in range(5):
        trial = store.open(number, random(number))
        trial.report(1.0, 1)
        store.finish(trial, TrialState.COMPLETE, 1.0)
    bad = store.open(5, random(5))
    bad.report(0.0, 1)
    assert bad.should_prune()


@pytest.mark.parametrize("name", PRUNERS)
def test_every_pruner_has_one_of_optuna_s(name: str) -> None:
    assert isinstance(make_pruner(name), optuna.pruners.BasePruner)


def test_a_grid_over_an_endless_space_is_refused_with_the_remedy() -> None:
    space = Space.from_spec({"lr": {"low": 0.1, "high": 1.0}, "plans": {"he": "he_normal"}})
    with pytest.raises(ConfigError, match=r"search.sampler=grid .*lists of choices"):
        resolve_sampler("grid", space, 10, 1)
    assert resolve_sampler("auto", space, 10, 1) == "tpe"
