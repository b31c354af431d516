"""How good models are on a set of images: loss and accuracy in large batches, without gradients."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from initsearch.tasks.data import ImageData
from initsearch.training.engines import InputSettings, Ranks, bf16_autocast, logits

# The same for every cohort and device count: the sums, and so the last digits, depend on it.
BATCH = 500


@torch.no_grad()
def score(
    models: Sequence[nn.Module],
    data: ImageData,
    x: Tensor,
    y: Tensor,
    inputs: InputSettings,
    ranks: Ranks,
) -> list[tuple[float, float]]:
    """Mean cross-entropy (nats) and accuracy in [0, 1] of each model in evaluation mode.

    Args:
        models: Left in training mode.
        data: What normalises the images.
        x: uint8 (N, C, H, W).
        y: int64 (N,).
        inputs: How the models take their input.
        ranks: The processes that share the work.
    """
    sums = torch.zeros(len(models), 2, dtype=torch.float64, device=x.device)
    for model in models:
        model.eval()
    share = ranks.share(torch.arange(len(x), device=x.device))
    for start in range(0, len(share), BATCH):
        index = share[start : start + BATCH]
        images, labels = inputs.ready(data, x[index]), y[index]
        for row, model in zip(sums, models, strict=True):
            with bf16_autocast(x.device, inputs.bf16):
                scores = logits(model, images)
            row[0] += F.cross_entropy(scores, labels, reduction="sum").double()
            row[1] += (scores.argmax(1) == labels).sum()
    for model in models:
        model.train()
    return [(loss, right) for loss, right in (ranks.total(sums) / len(x)).tolist()]
