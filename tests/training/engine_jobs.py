"""Jobs on a few digits, and the plain PyTorch loop that the engine is held against."""

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from initsearch.plan import InitPlan
from initsearch.tasks.data import DataConfig, load_data, split
from initsearch.tasks.models import build_model
from initsearch.training.job import Candidate, Job
from initsearch.training.streams import BatchStream, derive_seed

HE = {"name": "he_normal"}
SMALL = {"name": "normal", "std": 0.01}
LECUN = {"name": "lecun_uniform"}
TRIO = (Candidate("he", HE, 0.1), Candidate("small", SMALL, 0.02), Candidate("lecun", LECUN, 0.1))
DATA = {"name": "digits", "train_size": 320, "val_size": 100}
BATCH_SIZE = 32
PER_EPOCH = 10
MLP = {"name": "mlp", "width": 24, "depth": 2}


def make_job(**changes: Any) -> Job:
    """Three candidates, an MLP, SGD with momentum, 10 steps an epoch, two epochs."""
    job = Job(
        data=DATA,
        model=MLP,
        optimizer={"name": "sgd", "momentum": 0.9, "batch_size": BATCH_SIZE},
        trainer={"engine": "loop"},
        candidates=TRIO,
        seed=3,
        stop_epoch=2.0,
    )
    return replace(job, **changes)


class Plain(NamedTuple):
    """What a plain loop came to: the model, and the loss of each step."""

    model: nn.Module
    losses: list[float]


def train_plainly(job: Job, candidate: Candidate, dtype: torch.dtype = torch.float32) -> Plain:
    """One candidate alone: an ordinary PyTorch loop, written without any of the engine."""
    data = load_data(DataConfig(**job.data))
    parts = split(data, job.seed, job.data["train_size"], job.data["val_size"])
    with torch.random.fork_rng([]):
        torch.manual_seed(derive_seed("model", job.seed))
        model = build_model(job.model, data.input_shape, data.num_classes)
    InitPlan.from_spec(candidate.plan).apply(model, seed=job.seed, batch=first_images(job))
    model.to(dtype)
    optimizer = make_optimizer(job, model, candidate.lr)
    order = BatchStream(parts.train, job.seed, BATCH_SIZE, 0, 0).order
    losses = []
    for step in range(round(job.stop_epoch * PER_EPOCH)):
        epoch, at = divmod(step, PER_EPOCH)
        index = order(epoch)[at * BATCH_SIZE : (at + 1) * BATCH_SIZE]
        x, y = data.normalize(data.train_x[index], dtype), data.train_y[index]

        def closure(x: Tensor = x, y: Tensor = y) -> Tensor:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            if job.optimizer.get("clip_norm"):
                nn.utils.clip_grad_norm_(model.parameters(), job.optimizer["clip_norm"])
            return loss.detach()

        # NAdam keeps its factors in the default type, which Lightning sets to the precision's.
        torch.set_default_dtype(dtype)
        try:
            losses.append(float(optimizer.step(closure)))
        finally:
            torch.set_default_dtype(torch.float32)
    return Plain(model, losses)


def first_images(job: Job) -> Tensor:
    """A few images of the block, for tracing."""
    data = load_data(DataConfig(**job.data))
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
    settings = {
        k: v for k, v in job.optimizer.items() if k not in ("name", "batch_size", "clip_norm")
    }
    return kinds[job.optimizer["name"]](model.parameters(), lr=lr, **settings)


def read_state(path: str | Path | None) -> dict[str, Any]:
    """A state file's content, by torch alone."""
    assert path is not None
    content: dict[str, Any] = torch.load(path, weights_only=True)
    return content
