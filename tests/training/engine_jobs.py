"""Jobs on a few digits, and the plain PyTorch loop that the engines are compared with."""

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from initsearch.plan import InitPlan
from initsearch.tasks import DataSettings, ImageClassification, ModelSettings, OptimizerSettings
from initsearch.tasks.data import load_data, split
from initsearch.tasks.models import build_model
from initsearch.tasks.streams import derive_seed, epoch_order
from initsearch.training import Candidate, Job, TestJob, TrainerSettings, TrainJob

HE = {"name": "he_normal"}
SMALL = {"name": "normal", "std": 0.01}
LECUN = {"name": "lecun_uniform"}
TRIO = (Candidate("he", HE, 0.1), Candidate("small", SMALL, 0.02), Candidate("lecun", LECUN, 0.1))
DATA = {"name": "digits", "train_size": 320, "val_size": 100}
BATCH_SIZE = 32
PER_EPOCH = 10
MLP = {"name": "mlp", "width": 24, "depth": 2}


SGD = {"name": "sgd", "momentum": 0.9, "batch_size": BATCH_SIZE}
LOOP = {"engine": "loop"}


def make_task(
    data: dict[str, Any] = DATA, model: dict[str, Any] = MLP, optimizer: dict[str, Any] = SGD
) -> ImageClassification:
    """An image classification of settings as a configuration has them."""
    return ImageClassification(
        data=DataSettings.parse("data", data),
        model=ModelSettings.parse("model", model),
        optimizer=OptimizerSettings.parse("optimizer", optimizer),
    )


def make_trainer(**settings: Any) -> TrainerSettings:
    """Trainer settings as a configuration has them."""
    return TrainerSettings.parse("trainer", settings)


def make_job(
    *,
    data: dict[str, Any] = DATA,
    model: dict[str, Any] = MLP,
    optimizer: dict[str, Any] = SGD,
    trainer: dict[str, Any] = LOOP,
    **changes: Any,
) -> TrainJob:
    """Three candidates, an MLP, SGD with momentum, 10 steps an epoch, two epochs."""
    job = TrainJob(
        task=make_task(data, model, optimizer),
        trainer=make_trainer(**trainer),
        candidates=TRIO,
        seed=3,
        stop_epoch=2.0,
    )
    return replace(job, **changes)


def as_test(job: TrainJob, **changes: Any) -> TestJob:
    """The test of what a job trains; without states it trains again."""
    return TestJob(
        **{
            **{name: getattr(job, name) for name in ("task", "trainer", "candidates", "seed")},
            "epochs": job.stop_epoch,
            **changes,
        }
    )


class Plain(NamedTuple):
    """What a plain loop came to: the model, and the loss of each step."""

    model: nn.Module
    losses: list[float]


def train_plainly(job: TrainJob, candidate: Candidate, dtype: torch.dtype = torch.float32) -> Plain:
    """One candidate alone: an ordinary PyTorch loop, written without any of the engine."""
    task = as_images(job)
    data = load_data(task.data)
    parts = split(data, job.seed, task.data.train_size, task.data.val_size)
    with torch.random.fork_rng([]):
        torch.manual_seed(derive_seed("model", job.seed))
        model = build_model(task.model, data.input_shape, data.num_classes)
    InitPlan.from_spec(candidate.plan).apply(model, seed=job.seed, batch=first_images(job))
    model.to(dtype)
    optimizer = make_optimizer(job, model, candidate.lr)
    losses = []
    for step in range(round(job.stop_epoch * PER_EPOCH)):
        epoch, at = divmod(step, PER_EPOCH)
        order = epoch_order(parts.train, job.seed, epoch)
        index = order[at * BATCH_SIZE : (at + 1) * BATCH_SIZE]
        x, y = data.normalize(data.train_x[index], dtype), data.train_y[index]

        def closure(x: Tensor = x, y: Tensor = y) -> Tensor:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            if task.optimizer.clip_norm:
                nn.utils.clip_grad_norm_(model.parameters(), task.optimizer.clip_norm)
            return loss.detach()

        # NAdam keeps its factors in the default type, which Lightning sets to the precision's.
        torch.set_default_dtype(dtype)
        try:
            losses.append(float(optimizer.step(closure)))
        finally:
            torch.set_default_dtype(torch.float32)
    return Plain(model, losses)


def as_images(job: Job) -> ImageClassification:
    assert isinstance(job.task, ImageClassification)
    return job.task


def first_images(job: Job) -> Tensor:
    """A few images of the block, for tracing."""
    data = load_data(as_images(job).data)
    return data.normalize(data.train_x[:4])


def make_optimizer(job: Job, model: nn.Module, lr: float) -> torch.optim.Optimizer:
    """The optimizer that the job's config means, by torch's own names."""
    kinds = {
        "sgd": torch.optim.SGD,
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
        "rmsprop": torch.optim.RMSprop,
        "nadam": torch.optim.NAdam,
        "torch.optim.LBFGS": torch.optim.LBFGS,
    }
    settings = job.task.optimizer
    return kinds[settings.name](model.parameters(), lr=lr, **settings.arguments)


def read_state(path: str | Path | None) -> dict[str, Any]:
    """A state file's content, by torch alone."""
    assert path is not None
    content: dict[str, Any] = torch.load(path, weights_only=True)
    return content
