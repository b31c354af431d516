"""The book of jobs: what is trained once is kept, one candidate's failure spoils no other's result."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from simulated_jobs import simulate
from study_runs import Listener, Trained, make_task
from virtual_workers import VirtualWorkers

from initsearch.errors import InitSearchError, ModelError
from initsearch.execution import SerialExecutor
from initsearch.search.jobs.job_book import JobBook, Outcome
from initsearch.training import (
    Candidate,
    CohortResult,
    Job,
    TestJob,
    TrainerSettings,
    TrainJob,
    run_job,
)

ANNA, BERT, CARL = (
    Candidate(name, {"rules": [], "default": {"weight": name}}, 0.1) for name in ("anna", "bert", "carl")
)  # fmt: skip


def job_of(*candidates: Candidate, **changes: Any) -> TrainJob:
    job = TrainJob(
        task=make_task(), trainer=TrainerSettings(), candidates=candidates, seed=3, stop_epoch=2.0
    )
    return replace(job, **changes)


Train = Callable[[Job], CohortResult]


def book(
    folder: Path, train: Train, listener: Listener | None = None, limit: int | None = None
) -> JobBook:
    return JobBook(folder, SerialExecutor(), listener or Listener(), train, cohort_limit=limit)


def do(jobs: JobBook, job: Job) -> Outcome:
    return jobs.collect(jobs.submit(job, 2.0))


def refusing(*names: str, error: Callable[[str], Exception]) -> Callable[[Job], CohortResult]:
    """Training that raises an error wherever one of these candidates takes part."""

    def work(job: Job) -> CohortResult:
        for candidate in job.candidates:
            if candidate.name in names:
                raise error(candidate.name)
        return simulate(job)

    return work


def test_a_result_is_kept_and_read_again(tmp_path) -> None:
    trained = Trained(simulate)
    job = job_of(ANNA, BERT)
    first = do(book(tmp_path, trained), job)
    assert list(first.curves) == ["anna", "bert"]
    assert first.curves["bert"] == simulate(job).curves[1]
    again = book(tmp_path, trained)
    assert do(again, job) == first
    assert len(trained.jobs) == 1
    assert again.cpu_seconds == pytest.approx(simulate(job).cpu_seconds)


def test_a_new_candidate_is_trained_without_those_that_have_results(tmp_path) -> None:
    trained = Trained(simulate)
    do(book(tmp_path, trained), job_of(ANNA, BERT))
    outcome = do(book(tmp_path, trained), job_of(BERT, CARL))
    assert trained.pieces == [
        ("anna", 3, 2.0, False),
        ("bert", 3, 2.0, False),
        ("carl", 3, 2.0, False),
    ]
    assert set(outcome.curves) == {"bert", "carl"}


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 4},
        {"stop_epoch": 3.0},
        {"eval_epochs": (1.0,)},
        {"task": make_task(optimizer={"name": "adam"})},
        {"task": make_task(data={"name": "mnist"})},
        {"trainer": TrainerSettings(precision="bf16-true")},
        {"candidates": (replace(ANNA, lr=0.2),)},
        {"candidates": (replace(ANNA, plan={"rules": [], "default": {"weight": "zeros"}}),)},
    ],
    ids=str,
)
def test_everything_that_a_result_depends_on_makes_another_result(tmp_path, change) -> None:
    trained = Trained(simulate)
    do(book(tmp_path, trained), job_of(ANNA))
    do(
        book(tmp_path, trained),
        job_of(ANNA, **change) if "candidates" not in change else job_of(*change["candidates"]),
    )
    assert len(trained.jobs) == 2


def test_a_test_of_what_was_trained_is_another_result(tmp_path) -> None:
    trained = Trained(simulate)
    job = job_of(ANNA)
    test = TestJob(task=job.task, trainer=job.trainer, candidates=(ANNA,), seed=3, epochs=2.0)
    for each in (job, test, job, test):
        do(book(tmp_path, trained), each)
    assert trained.jobs == [job, test]


def test_where_a_job_starts_from_does_not(tmp_path) -> None:
    trained = Trained(simulate)
    do(book(tmp_path, trained), job_of(ANNA))
    do(
        book(tmp_path, trained),
        job_of(ANNA, start_epoch=1.0, states={"anna": "gone.pt"}, state_dir="states"),
    )
    assert len(trained.jobs) == 1


def test_where_a_candidate_came_from_does_not(tmp_path) -> None:
    trained = Trained(simulate)
    do(book(tmp_path, trained), job_of(ANNA))
    same = replace(ANNA, number=5, scheme="other", params={"lr": 0.1}, baseline=True)
    do(book(tmp_path, trained), job_of(same))
    assert len(trained.jobs) == 1


def test_results_are_kept_by_name_in_any_order(tmp_path) -> None:
    def reversed_order(job: Job) -> CohortResult:
        result = simulate(job)
        return replace(result, curves=result.curves[::-1])

    trained = Trained(reversed_order)
    do(book(tmp_path, trained), job_of(ANNA, BERT))
    alone = do(book(tmp_path, trained), job_of(BERT))
    assert alone.curves == {"bert": simulate(job_of(BERT)).curves[0]}


def test_a_result_is_kept_even_if_it_is_not_collected(tmp_path) -> None:
    trained = Trained(simulate)
    book(tmp_path, trained).submit(job_of(ANNA), 2.0)
    do(book(tmp_path, trained), job_of(ANNA))
    assert len(trained.jobs) == 1


@pytest.mark.parametrize("limit", [None, 1])
def test_one_failure_spoils_no_other_s_result(tmp_path, limit) -> None:
    work = refusing("bert", error=lambda name: ModelError(f"not {name}"))
    trained = Trained(work)
    listener = Listener()
    outcome = do(book(tmp_path, trained, listener, limit), job_of(ANNA, BERT, CARL))
    assert set(outcome.curves) == {"anna", "carl"}
    assert outcome.failed == {"bert": "ModelError: not bert"}
    (report,) = tmp_path.glob("failed-*.txt")
    assert report.read_text().startswith("bert\nTraceback")
    assert sum(amount for (amount,) in listener.heard("advance")) == 6.0
    # In another run, the results are not trained again; the candidate that failed is tried again.
    trained.jobs.clear()
    do(book(tmp_path, trained, limit=limit), job_of(ANNA, BERT, CARL))
    assert {name for name, *_ in trained.pieces} == {"bert"}


def test_a_candidate_of_a_cohort_that_fails_has_not_failed(monkeypatch, tmp_path) -> None:
    """It is in training with others, one of which raises."""
    work = refusing("bert", error=lambda name: ModelError(f"not {name}"))
    jobs = JobBook(tmp_path, VirtualWorkers(1, monkeypatch), Listener(), work)
    jobs.submit(job_of(ANNA, BERT), 0.0)
    outcome = do(jobs, job_of(ANNA))
    assert (set(outcome.curves), outcome.failed) == ({"anna"}, {})


def test_what_is_in_training_is_not_trained_twice(monkeypatch, tmp_path) -> None:
    pool, listener = VirtualWorkers(1, monkeypatch), Listener()
    jobs = JobBook(tmp_path, pool, listener, simulate)
    jobs.submit(job_of(ANNA, BERT), 0.0)
    outcome = do(jobs, job_of(BERT, CARL))
    assert [[c.name for c in job.candidates] for *_, job in pool.begun] == [
        ["anna", "bert"],
        ["carl"],
    ]
    assert set(outcome.curves) == {"bert", "carl"}
    assert sum(amount for (amount,) in listener.heard("advance")) == 4.0


def test_a_candidate_that_a_result_lacks_has_failed(tmp_path) -> None:
    """What goes wrong while a result is kept happens in a thread of the executor."""

    def forgetful(job: Job) -> CohortResult:
        result = simulate(job)
        return replace(result, curves=tuple(c for c in result.curves if c.candidate != "bert"))

    trained = Trained(forgetful)
    outcome = do(book(tmp_path, trained), job_of(ANNA, BERT))
    assert set(outcome.curves) == {"anna"}
    assert set(outcome.failed) == {"bert"}


@pytest.mark.parametrize("limit", [None, 1])
def test_where_all_fail_alike_it_is_the_configuration(tmp_path, limit) -> None:
    def work(job: Job) -> CohortResult:
        raise ModelError("the model must return class scores")

    trained = Trained(work)
    with pytest.raises(ModelError, match="the model must return class scores"):
        do(book(tmp_path, trained, limit=limit), job_of(ANNA, BERT))


def test_where_each_fails_in_its_own_way_it_is_not(tmp_path) -> None:
    trained = Trained(refusing("anna", "bert", error=lambda name: ModelError(f"not {name}")))
    assert set(do(book(tmp_path, trained), job_of(ANNA, BERT)).failed) == {"anna", "bert"}


def test_why_cohorts_are_not_stacked_is_reported_once(tmp_path) -> None:
    listener = Listener()
    jobs = book(tmp_path, run_job, listener)
    job = TrainJob(
        task=make_task(
            data={"name": "digits", "train_size": 64, "val_size": 32},
            model={"name": "mlp", "depth": 1, "width": 8},
            optimizer={"name": "torch.optim.LBFGS", "batch_size": 32},
        ),
        trainer=TrainerSettings(engine="stacked"),
        candidates=tuple(Candidate(name, {"name": name}, 0.1) for name in ("he_normal", "ones")),
        seed=0,
        screen=True,
    )
    for seed in (0, 1):
        do(jobs, replace(job, seed=seed))
    (reported,) = listener.heard("message")
    assert reported == (
        "cohorts are trained by loop: stacked was asked for, but the optimizer torch.optim.LBFGS is not "
        "known to be elementwise",
    )


def test_an_error_of_many_lines_becomes_one(tmp_path) -> None:
    trained = Trained(refusing("anna", error=lambda _: RuntimeError("a long story:\nthe reason")))
    assert do(book(tmp_path, trained), job_of(ANNA)).failed == {"anna": "RuntimeError: the reason"}


def test_a_result_that_cannot_be_written_ends_the_study(tmp_path) -> None:
    trained = Trained(simulate)
    (tmp_path / "jobs").write_text("a file where the folder should be")
    jobs = book(tmp_path / "jobs", trained)
    with pytest.raises(
        InitSearchError, match=r"results cannot be written to .*: make room"
    ) as stopped:
        do(jobs, job_of(ANNA))
    assert isinstance(stopped.value.__cause__, OSError)
    assert len(trained.jobs) == 1
