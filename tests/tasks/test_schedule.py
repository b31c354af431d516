"""The schedule of the learning rate: torch's own schedulers in a plain loop are the oracle."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from torch import nn
from torch.optim import lr_scheduler

from initsearch.config import read_settings
from initsearch.errors import ConfigError
from initsearch.plan import InitPlan
from initsearch.shipped_configs import conf_dir
from initsearch.tasks import OptimizerSettings, derive_seed
from initsearch.tasks.registry import build_task
from initsearch.training import Candidate, TrainerSettings, TrainJob, run_job

TORCH = "torch.optim.lr_scheduler"
PER_EPOCH, EPOCHS = 4, 3.0
STEPS = 12
Scheduler = lr_scheduler.LRScheduler


def warmed(optimizer: torch.optim.Optimizer) -> Scheduler:
    ramp = lr_scheduler.LinearLR(optimizer, 1 / 3, total_iters=2)
    rest = lr_scheduler.CosineAnnealingLR(optimizer, STEPS - 3)
    return lr_scheduler.SequentialLR(optimizer, [ramp, rest], [3])


ORACLES: dict[str, tuple[object, Callable[[torch.optim.Optimizer], Scheduler], int]] = {
    "cosine": ("cosine", lambda o: lr_scheduler.CosineAnnealingLR(o, STEPS), 1),
    "cosine with warm-up": ({"name": "cosine", "warmup": 0.25}, warmed, 1),
    "linear": (
        {"name": "linear", "final": 0.1},
        lambda o: lr_scheduler.LinearLR(o, 1.0, 0.1, STEPS),
        1,
    ),
    "polynomial": (
        {"_target_": f"{TORCH}.PolynomialLR", "power": 2.0},
        lambda o: lr_scheduler.PolynomialLR(o, STEPS, 2.0),
        1,
    ),
    "one cycle, with momentum": (
        f"{TORCH}.OneCycleLR",
        lambda o: lr_scheduler.OneCycleLR(o, o.param_groups[0]["lr"], STEPS),
        1,
    ),
    "step by epoch": (
        {"_target_": f"{TORCH}.StepLR", "step_size": 2, "gamma": 0.5, "interval": "epoch"},
        lambda o: lr_scheduler.StepLR(o, 2, 0.5),
        PER_EPOCH,
    ),
    "constant": ("constant", lambda o: lr_scheduler.LambdaLR(o, lambda step: 1.0), 1),
}


def settings(schedule: object, **more: Any) -> OptimizerSettings:
    given = {"name": schedule} if isinstance(schedule, str) else dict(schedule)  # type: ignore[call-overload]
    optimizer = {"name": "sgd", "momentum": 0.9, "batch_size": 12, **more}
    return OptimizerSettings.parse(
        "optimizer", {**optimizer, "schedule": {"epochs": EPOCHS, **given}}
    )


@pytest.mark.parametrize("key", ORACLES)
def test_the_rates_are_those_of_torchs_schedulers(key: str) -> None:
    schedule, make, period = ORACLES[key]
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.05, momentum=0.9)
    scheduler = make(optimizer)
    course = settings(schedule).course(0.05, PER_EPOCH)
    assert course is not None
    for step in range(STEPS):
        found = course(step)
        group = optimizer.param_groups[0]
        assert found == {name: pytest.approx(group[name], rel=1e-12) for name in found}, step
        optimizer.step()
        if (step + 1) % period == 0:
            scheduler.step()
    later = settings(schedule).course(0.05, PER_EPOCH)
    assert later is not None
    assert later(STEPS - 1) == found  # a resumed training has the same rates


@pytest.mark.parametrize("engine", ["loop", "stacked"])
@pytest.mark.parametrize("key", ["cosine with warm-up", "one cycle, with momentum"])
def test_a_scheduled_training_is_a_plain_loops_also_in_pieces(
    engine: str, key: str, tmp_path: Path
) -> None:
    schedule, make, _ = ORACLES[key]
    data = {"name": "sine", "points": 96, "train_size": 48, "val_size": 30}
    model = {"name": "mlp", "depth": 1, "width": 8}
    task = build_task({"task": {"name": "function"}, "data": data, "model": model, "optimizer": {}})
    task = replace(task, optimizer=settings(schedule))
    lecun = {"name": "lecun_normal"}
    job = TrainJob(
        task=task,
        trainer=TrainerSettings(engine=engine, precision="64-true", autocast="none"),
        candidates=(Candidate("a", lecun, 0.03), Candidate("b", lecun, 0.01)),
        seed=4,
        stop_epoch=EPOCHS,
    )
    whole = run_job(replace(job, state_dir=str(tmp_path)))
    assert whole.engine == engine, whole.reason
    begun = run_job(replace(job, stop_epoch=1.25, state_dir=str(tmp_path)))
    states = {curve.candidate: str(curve.state) for curve in begun.curves}
    resumed = run_job(replace(job, start_epoch=1.25, states=states))
    block = task.open(4, torch.device("cpu"))
    for number, candidate in enumerate(job.candidates):
        score = whole.curves[number].points[-1].scores["val_loss"]
        assert resumed.curves[number].points[-1].scores["val_loss"] == score
        torch.manual_seed(derive_seed("model", 4))
        net = task.build_model()
        InitPlan.from_spec(lecun).apply(net, seed=4, batch=block.x[block.train[:4]].float())  # type: ignore[attr-defined]
        net.double()
        optimizer = torch.optim.SGD(net.parameters(), candidate.rate, momentum=0.9)
        scheduler = make(optimizer)
        for index in block.batches(0, STEPS):
            loss = (net(block.x[index].double()) - block.y[index]).square().mean()  # type: ignore[attr-defined]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
        with torch.no_grad():
            x, y = block.x[block.validation].double(), block.y[block.validation]  # type: ignore[attr-defined]
            expected = float((net(x) - y).square().mean())
        assert score == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        ("cosin", ("cosin", "cosine")),
        ({"name": "cosine", "warmup": 1.5}, ("optimizer.schedule.warmup", "1.5")),
        ({"name": "cosine", "gamma": 0.5}, ("optimizer.schedule.gamma", "leave it out")),
        ({"name": f"{TORCH}.StepLR"}, ("StepLR", "step_size")),
        (f"{TORCH}.ReduceLROnPlateau", ("function of the step", "cosine")),
        ("torch.optim.SGD", ("LRScheduler", "cosine")),
        ({"name": f"{TORCH}.OneCycleLR", "max_lr": 1.0}, ("max_lr", "optimizer.lr")),
    ],
    ids=str,
)
def test_a_schedule_that_does_not_fit_is_one_line(schedule: object, words: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as error:
        settings(schedule)
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize(
    "words",
    [
        ("optimizer.schedule=cosine",),
        ("optimizer.schedule={name: cosine, warmup: 0.1}",),
        (f"+optimizer.schedule._target_={TORCH}.CosineAnnealingLR",),
    ],
    ids=str,
)
def test_the_length_of_a_schedule_on_the_command_line_is_that_of_the_full_training(
    words: tuple[str, ...],
) -> None:
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        composed = compose("config", overrides=["+sweep=relu_mlp", "max_epochs=7", *words])
    optimizer = read_settings(composed, words).task.optimizer  # type: ignore[attr-defined]
    assert optimizer.schedule.epochs == 7
    assert optimizer.key()["schedule"]["epochs"] == 7
    course = optimizer.course(0.1, 10)
    assert course(30)["lr"] > 0.04 > 0.001 > course(69)["lr"]
