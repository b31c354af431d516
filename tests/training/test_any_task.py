"""The engines train any task that keeps the protocol, here against a plain loop of a regression."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from engine_jobs import read_state
from sine_task import SineTask, sines
from torch import nn

from initsearch.plan import InitPlan
from initsearch.tasks import CohortTask, OptimizerSettings, derive_seed
from initsearch.tasks.base import BatchFormat
from initsearch.tasks.streams import epoch_order
from initsearch.training import Candidate, TestJob, TrainerSettings, TrainJob, run_job
from initsearch.training.members import INIT_EXAMPLES, build_members

TASK: CohortTask = SineTask()  # that mypy accepts it is part of the test
CANDIDATES = tuple(
    Candidate(name, {"name": name}, lr) for name, lr in (("lecun_normal", 0.1), ("he_uniform", 0.2))
)
JOB = TrainJob(
    task=TASK,
    trainer=TrainerSettings(engine="loop", precision="64-true"),
    candidates=CANDIDATES,
    seed=5,
    stop_epoch=3.0,
    eval_epochs=(1.0, 3.0),
)


def train_plainly(candidate: Candidate) -> tuple[nn.Module, list[float]]:
    """Three epochs of six steps, by PyTorch alone."""
    with torch.random.fork_rng([]):
        torch.manual_seed(derive_seed("model", JOB.seed))
        model = TASK.build_model()
    data = sines("train", JOB.seed)
    InitPlan.from_spec(candidate.plan).apply(model, seed=JOB.seed, batch=data["x"][:2])
    model.double()
    optimizer = torch.optim.SGD(model.parameters(), candidate.lr)
    losses = []
    for step in range(18):
        epoch, at = divmod(step, 6)
        index = epoch_order(torch.arange(96), JOB.seed, epoch)[at * 16 : (at + 1) * 16]
        x, y = data["x"][index].double(), data["y"][index].double()
        loss = (model(x) - y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return model, losses


@pytest.mark.parametrize("engine", ["loop", "stacked"])
def test_a_regression_is_trained_as_by_a_plain_loop(engine: str, tmp_path: Path) -> None:
    trainer = JOB.trainer.model_copy(update={"engine": engine})
    job = replace(JOB, trainer=trainer, state_dir=str(tmp_path))
    result = run_job(job)
    assert result.engine == engine
    states = {curve.candidate: str(curve.state) for curve in result.curves}
    common = {name: getattr(job, name) for name in ("task", "trainer", "candidates", "seed")}
    tests = run_job(TestJob(**common, states=states, epochs=3.0)).curves
    for candidate, curve, tested in zip(CANDIDATES, result.curves, tests, strict=True):
        alone, losses = train_plainly(candidate)
        weights = read_state(curve.state)["model"]
        for name, tensor in alone.state_dict().items():
            torch.testing.assert_close(weights[name], tensor, rtol=0, atol=1e-12)
        assert curve.initial_loss == pytest.approx(losses[0], rel=1e-12)
        assert curve.points[1].train_loss == pytest.approx(sum(losses[6:]) / 12, rel=1e-12)
        for scores, part in ((curve.points[1].scores, "validation"), (tested.test, "test")):
            data = sines(part, JOB.seed)
            error = (alone(data["x"].double()) - data["y"].double()).square().mean()
            assert scores == {f"{part}_mse": pytest.approx(error.item(), rel=1e-10)}


def test_a_loss_that_cannot_be_stacked_falls_back_to_the_loop_with_the_reason() -> None:
    lbfgs = OptimizerSettings.parse("optimizer", {"name": "torch.optim.LBFGS", "batch_size": 16})
    trainer = JOB.trainer.model_copy(update={"engine": "stacked"})
    result = run_job(replace(JOB, task=SineTask(optimizer=lbfgs), trainer=trainer))
    assert result.engine == "loop"
    assert "LBFGS is not known to be elementwise" in result.reason


def test_scales_are_learned_from_the_loss_of_the_task() -> None:
    plan = {"name": "gradinit", "steps": 2}
    block = TASK.open(JOB.seed, torch.device("cpu"))
    job = replace(JOB, candidates=(Candidate("scaled", plan, 0.1),))
    (member,) = build_members(job, block)
    reference = TASK.build_model()
    batch = block.ready(block.example(INIT_EXAMPLES), BatchFormat())
    InitPlan.from_spec(plan).apply(
        reference, seed=JOB.seed, batch=TASK.inputs(batch), loss=TASK.loss, loss_batch=batch
    )
    assert all(map(torch.equal, member.parameters(), reference.parameters()))
