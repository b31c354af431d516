"""How a cohort's models take their batches: dtype, device and memory order."""

from collections.abc import Sequence

import torch
from torch import nn

from initsearch.tasks.base import BatchFormat, Ranks
from initsearch.training.trainer_settings import TrainerSettings


def batch_format(
    settings: TrainerSettings, models: Sequence[nn.Module], ranks: Ranks | None = None
) -> BatchFormat:
    """The format of the batches for models that are on their device and in their precision."""
    first = next(models[0].parameters())
    channels_last = settings.channels_last is True
    return BatchFormat(first.dtype, channels_last, first.device, ranks or Ranks())


def lay_out(models: Sequence[nn.Module], form: BatchFormat) -> None:
    """Put the convolutions of some models into the memory order of their batches."""
    if form.channels_last:
        for model in models:
            model.to(memory_format=torch.channels_last)
