"""Measure the models of a cohort on validation or test data, in evaluation mode without gradients."""

from collections.abc import Sequence

import torch
from torch import nn

from initsearch.tasks.base import BatchFormat, Block, EvaluationSet
from initsearch.training.engine_protocol import bf16_autocast


@torch.no_grad()
def measure(
    models: Sequence[nn.Module],
    block: Block,
    part: EvaluationSet,
    form: BatchFormat,
    *,
    bf16: bool = False,
) -> list[dict[str, float]]:
    """The named scores of each model.

    Args:
        models: On their device; left in training mode.
        block: What to measure on.
        part: Which set of it.
        form: How the models take their batches.
        bf16: Whether the forward pass runs in bfloat16.
    """
    for model in models:
        model.eval()
    with bf16_autocast(form.device, bf16):
        scores = block.measure(models, part, form)
    for model in models:
        model.train()
    return scores
