"""User code that hangs, or ends its process, ends its own candidate and not the search."""

import re
from pathlib import Path
from typing import Any

import pytest
from simulated_jobs import simulate
from study_runs import run, settings
from test_job_book import ANNA, BERT, CARL, book, do, job_of, refusing

from initsearch.cli import PRELOAD
from initsearch.errors import InitSearchError, JobEndedError, ModelError
from initsearch.execution import make_executor, processes
from initsearch.search.jobs.time_limits import LEAST, MULTIPLE, PER_STEP, TimeLimits
from initsearch.search.verdict import Verdict
from initsearch.training import TestJob

pytestmark = pytest.mark.slow

#: What becomes of a candidate whose initializer does this, in a process of its own.
REASONS = {
    "hangs": r"ended after 4 s.*job_timeout=",
    "leaves": r"leaves called sys\.exit\(None\) \(.*odd_initializers\.py, line \d+\)",
    "exits": r"exited with status 3:",
    "segfaults": r"segmentation fault \(SIGSEGV\)",
}
SMALL: dict[str, Any] = {
    "space": {"plans": {name: f"odd_initializers.{name}" for name in REASONS}},
    "baselines": {"torch_default": "torch_default", "he_normal": "he_normal"},
    "n_trials": 6,
    "search": {"seeds": 1, "probe_steps": 0, "screen": False, "pruner": "none"},
    "race": {"max_seeds": 2, "looks": (2,)},
    "job_timeout": 4.0,
}


@pytest.fixture(scope="module", params=[1, 2])
def misbehaved(request: pytest.FixtureRequest, tmp_path_factory) -> Verdict:
    """A study with one candidate of each kind, with one worker and with two."""
    asked = settings(tmp_path_factory.mktemp("odd"), workers=request.param, **SMALL)
    preload = (*PRELOAD, "sklearn.datasets")  # takes its time
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processes, "ATTEMPTS", 1)
        with make_executor("local", workers=request.param, preload=preload) as executor:
            return run(asked, executor=executor)


@pytest.mark.parametrize("name", REASONS)
def test_a_candidate_whose_code_misbehaves_has_failed_with_its_reason(
    misbehaved: Verdict, name: str
) -> None:
    (row,) = (row for row in misbehaved.evidence.search if row.name == name)
    assert row.status == "failed"
    assert row.reason.startswith("JobEndedError: ")
    assert re.search(REASONS[name], row.reason)
    assert "memory" not in row.reason


def test_the_other_candidates_are_not_affected(misbehaved: Verdict, tmp_path: Path) -> None:
    alone = SMALL | {"space": {"plans": {"unused": "zeros"}}, "n_trials": 2}
    expected = {row.name: row for row in run(settings(tmp_path, **alone)).evidence.search}
    found = {row.name: row for row in misbehaved.evidence.search if row.name in expected}
    assert {name: row.scores for name, row in found.items()} == {
        name: row.scores for name, row in expected.items()
    }
    assert {row.status for row in found.values()} == {"complete"}


def test_where_all_candidates_end_their_process_the_search_ends_with_their_error(
    tmp_path: Path,
) -> None:
    every = SMALL | {"baselines": {"a": "odd_initializers.leaves", "b": "odd_initializers.leaves"}}
    every |= {"space": {"plans": {"c": "odd_initializers.leaves"}}, "n_trials": 3}
    with pytest.raises(InitSearchError, match=r"leaves called sys\.exit"):
        run(settings(tmp_path, **every))


def ended(name: str) -> Exception:
    return JobEndedError("a worker process exited with status 3")


def test_equal_ends_of_some_candidates_do_not_end_a_search_in_which_others_came_through(
    tmp_path: Path,
) -> None:
    jobs = book(tmp_path, refusing("bert", "carl", error=ended))
    do(jobs, job_of(ANNA))
    outcome = do(jobs, job_of(BERT, CARL))
    assert set(outcome.failed) == {"bert", "carl"}


def test_what_has_failed_on_one_seed_is_not_tried_alone_on_the_next(tmp_path: Path) -> None:
    tried: list[tuple[str, ...]] = []
    refuse = refusing("bert", error=ended)

    def train(job: Any) -> Any:
        tried.append(tuple(candidate.name for candidate in job.candidates))
        return refuse(job)

    jobs = book(tmp_path, train)
    first, second = (jobs.submit(job_of(ANNA, BERT, seed=seed), 2.0) for seed in (1, 2))
    failed = jobs.collect(first).failed
    tried.clear()
    outcome = jobs.collect(second, failed)
    assert tried == [("anna",)]
    assert set(outcome.curves) == {"anna"}


def test_auto_is_a_multiple_of_the_slowest_pace() -> None:
    limits = TimeLimits("auto", steps_per_epoch=100.0)
    short, long = job_of(ANNA, BERT, stop_epoch=2.0), job_of(ANNA, stop_epoch=50.0)
    assert limits.of(short) == 2 * 200 * PER_STEP
    assert TimeLimits("auto").of(short) is None
    result = simulate(short)
    for seconds in (40.0, 80.0, 20.0):  # at most 20 s per candidate-epoch
        limits.note(short, type(result)(**{**vars(result), "wall_seconds": seconds}))
    assert limits.of(long) == MULTIPLE * 20.0 * 50
    assert limits.of(short) == max(LEAST, MULTIPLE * 80.0)
    test = TestJob(task=long.task, trainer=long.trainer, candidates=(ANNA,), seed=3, epochs=50.0)
    assert limits.of(test) == limits.of(long)


@pytest.mark.parametrize("setting", [5.0, None])
def test_a_number_or_no_limit_holds_for_every_job(setting: float | None) -> None:
    limits = TimeLimits(setting)
    limits.note(job_of(ANNA), simulate(job_of(ANNA)))
    assert limits.of(job_of(ANNA, BERT)) == limits.of_probe() == setting


@pytest.mark.parametrize("name", ["LeavesWhenBuilt", "LeavesWhenCalled"])
def test_a_model_that_leaves_is_an_error_before_anything_is_trained(
    tmp_path: Path, name: str
) -> None:
    model = {"_target_": f"odd_models.{name}"}
    with pytest.raises(ModelError, match=f"{name}.*SystemExit"):
        run(settings(tmp_path, model=model))


def test_a_model_that_leaves_in_training_fails_each_candidate(tmp_path: Path) -> None:
    with pytest.raises(InitSearchError, match=r"forward called sys\.exit\(3\)"):
        run(settings(tmp_path, model={"_target_": "odd_models.LeavesInTraining"}))
