"""Trainings give the same numbers wherever they run."""

from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import replace

import pytest

from initsearch.cli import PRELOAD
from initsearch.errors import InitSearchError
from initsearch.execution import ProgramExecutor, make_executor
from initsearch.training.job import Candidate, Job
from initsearch.training.worker import run_job

pytestmark = pytest.mark.slow

CANDIDATES = (
    Candidate("he", {"name": "he_normal"}, 0.1),
    Candidate("small", {"name": "normal", "std": 0.01}, 0.02),
)
JOB = Job(
    data={"name": "digits", "train_size": 320, "val_size": 100},
    model={"name": "mlp", "width": 24},
    optimizer={"name": "sgd", "momentum": 0.9, "batch_size": 32},
    trainer={"engine": "loop"},
    candidates=CANDIDATES,
    seed=0,
    stop_epoch=2.0,
    test=True,
)
DDP = {"accelerator": "cpu", "strategy": "ddp", "devices": 2}


@pytest.fixture(scope="module")
def programs() -> Iterator[Executor]:
    with make_executor("local", distributed=True) as executor:
        assert isinstance(executor, ProgramExecutor)
        yield executor


def test_results_do_not_depend_on_the_number_of_workers() -> None:
    jobs = [replace(JOB, seed=seed) for seed in range(3)]
    with make_executor("local", workers=2, preload=PRELOAD) as executor:
        futures = [executor.submit(run_job, job) for job in jobs]
        for job, future in zip(jobs, futures, strict=True):
            assert future.result().curves == run_job(job).curves


def test_ddp_gives_what_a_single_process_gives(programs: Executor) -> None:
    """Two processes of Lightning's own launcher, each with its share of every batch."""
    one = replace(JOB, candidates=CANDIDATES[:1], optimizer={**JOB.optimizer, "clip_norm": 1.0})
    alone = run_job(one).curves[0]
    result = programs.submit(run_job, replace(one, trainer=DDP)).result()
    (spread,) = result.curves
    assert spread.initial_loss == pytest.approx(alone.initial_loss, rel=1e-5)
    for point, other in zip(spread.points, alone.points, strict=True):
        assert point.train_loss == pytest.approx(other.train_loss, rel=1e-4)
        assert point.val_loss == pytest.approx(other.val_loss, rel=1e-4)
        assert point.val_accuracy == pytest.approx(other.val_accuracy, abs=0.011)
    assert spread.test_loss == pytest.approx(alone.test_loss, rel=1e-4)


def test_an_error_of_a_ddp_training_is_the_error_of_one_process(programs: Executor) -> None:
    mistyped = replace(JOB, candidates=CANDIDATES[:1], model={"name": "mpl"})
    with pytest.raises(InitSearchError) as alone:
        run_job(mistyped)
    with pytest.raises(type(alone.value)) as spread:
        programs.submit(run_job, replace(mistyped, trainer=DDP)).result()
    assert str(spread.value) == str(alone.value)
