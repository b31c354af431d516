"""Trainings give the same numbers wherever they run."""

from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import replace

import pytest

from initsearch.cli import PRELOAD
from initsearch.errors import ConfigError, InitSearchError
from initsearch.execution import ProgramExecutor, make_executor
from initsearch.tasks import DataSettings, ImageClassification, ModelSettings, OptimizerSettings
from initsearch.training import Candidate, TestJob, TrainerSettings, TrainJob, run_job

pytestmark = pytest.mark.slow

CANDIDATES = (
    Candidate("he", {"name": "he_normal"}, 0.1),
    Candidate("small", {"name": "normal", "std": 0.01}, 0.02),
)
SGD = {"name": "sgd", "momentum": 0.9, "batch_size": 32}
TASK = ImageClassification(
    data=DataSettings(name="digits", train_size=320, val_size=100),
    model=ModelSettings.parse("model", {"name": "mlp", "width": 24}),
    optimizer=OptimizerSettings.parse("optimizer", SGD),
)
JOB = TrainJob(
    task=TASK,
    trainer=TrainerSettings(engine="loop"),
    candidates=CANDIDATES,
    seed=0,
    stop_epoch=2.0,
)
DDP = TrainerSettings(strategy="ddp", devices=2)


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
    clipped = OptimizerSettings.parse("optimizer", {**SGD, "clip_norm": 1.0})
    one = replace(JOB, candidates=CANDIDATES[:1], task=replace(TASK, optimizer=clipped))
    test = TestJob(
        task=one.task, trainer=one.trainer, candidates=one.candidates, seed=0, epochs=2.0
    )
    alone, tested = (run_job(job).curves[0] for job in (one, test))
    spread, spread_test = (
        programs.submit(run_job, replace(job, trainer=DDP)).result().curves[0]
        for job in (one, test)
    )
    assert spread.initial_loss == pytest.approx(alone.initial_loss, rel=1e-5)
    for point, other in zip(spread.points, alone.points, strict=True):
        assert point.train_loss == pytest.approx(other.train_loss, rel=1e-4)
        accuracies = [each.scores["val_accuracy"] for each in (point, other)]
        losses = [each.scores["val_loss"] for each in (point, other)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-4)
        assert accuracies[0] == pytest.approx(accuracies[1], abs=0.011)
    assert spread_test.test["test_loss"] == pytest.approx(tested.test["test_loss"], rel=1e-4)


def test_a_batch_with_fewer_examples_than_processes_is_refused(programs: Executor) -> None:
    task = replace(TASK, optimizer=OptimizerSettings(batch_size=1))
    job = replace(JOB, task=task, candidates=CANDIDATES[:1], trainer=DDP, stop_epoch=0.01)
    with pytest.raises(ConfigError, match=r"optimizer.batch_size must be at least 2"):
        programs.submit(run_job, job).result()


def test_an_error_of_a_ddp_training_is_the_error_of_one_process(programs: Executor) -> None:
    missing = ModelSettings.parse("model", {"_target_": "torch.nn.NoSuchNet"})
    job = replace(JOB, candidates=CANDIDATES[:1], task=replace(TASK, model=missing))
    with pytest.raises(InitSearchError) as alone:
        run_job(job)
    with pytest.raises(type(alone.value)) as spread:
        programs.submit(run_job, replace(job, trainer=DDP)).result()
    assert str(spread.value) == str(alone.value)
