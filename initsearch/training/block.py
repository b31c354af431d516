"""What a job starts from: the data set with its block's split, and the initialized members."""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from initsearch.plan import InitPlan
from initsearch.tasks.data import DataConfig, ImageData, Split, load_data, split
from initsearch.tasks.models import build_model
from initsearch.training.job import Job
from initsearch.training.streams import derive_seed

INIT_IMAGES = 64  # what follows a layer shows on two; LSUV measures variances on them


def build_members(job: Job, data: ImageData, parts: Split) -> list[nn.Module]:
    """A model per candidate, initialized by its plan, on the CPU.

    Before the plan speaks, all of a block's models are alike: what a plan keeps is the same for
    every candidate, and what it draws scales the same noise.
    """
    batch = data.normalize(data.train_x[parts.train[:INIT_IMAGES]]).cpu()
    members = []
    for candidate in job.candidates:
        torch.manual_seed(derive_seed("model", job.seed))
        model = build_model(job.model, data.input_shape, data.num_classes)
        if candidate.name not in job.state_in:
            InitPlan.from_spec(candidate.plan).apply(model, seed=job.seed, batch=batch)
        members.append(model)
    return members


@lru_cache(maxsize=2)
def _load(settings: str) -> ImageData:
    return load_data(DataConfig.from_mapping(json.loads(settings)))


@lru_cache(maxsize=2)
def _load_on(settings: str, device: torch.device) -> ImageData:
    return _load(settings).to(device)


def load_block(
    settings: Mapping[str, Any], seed: int, device: torch.device
) -> tuple[ImageData, Split]:
    """The data set on a device, with a block's split; kept for the next job of this process."""
    return _load_block(json.dumps(dict(settings), sort_keys=True), seed, device)


@lru_cache(maxsize=16)
def _load_block(settings: str, seed: int, device: torch.device) -> tuple[ImageData, Split]:
    config = DataConfig.from_mapping(json.loads(settings))
    parts = split(_load(settings), seed, config.train_size, config.val_size)
    return _load_on(settings, device), parts
