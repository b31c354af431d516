"""What the tasks on examples in memory share where models are measured."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from initsearch.tasks.base import EvaluationSet, Ranks

# Examples that are measured at a time, the same for every cohort and number of devices: the sums, and so the
# last digits of scores, depend on it.
MEASURED_AT_ONCE = 500
#: What the names of scores begin with.
PREFIXES: dict[EvaluationSet, str] = {"validation": "val", "test": "test"}


def score_name(prefix: str, name: str) -> str:
    """`val_rmse`; a score of one's own keeps its dotted path in validation."""
    return name if prefix == "val" and "." in name else f"{prefix}_{name}"


def whole_outputs(
    models: Sequence[nn.Module],
    pool: Tensor,
    inputs: Callable[[Tensor], Tensor],
    call: Callable[[nn.Module, Tensor], Tensor],
    ranks: Ranks,
) -> list[Tensor]:
    """The outputs of each model for all examples of a part of the data, over all processes.

    Args:
        models: In evaluation mode.
        pool: int64 (N,), the part's examples.
        inputs: The inputs of some examples, ready for the models.
        call: Gives a model's outputs (n, ...) for inputs.
        ranks: The processes that share the examples.

    Returns:
        (N, ...) for each model.
    """
    share = ranks.share(torch.arange(len(pool), device=pool.device))
    rows: list[list[Tensor]] = [[] for _ in models]
    for start in range(0, len(share), MEASURED_AT_ONCE):
        places = share[start : start + MEASURED_AT_ONCE]
        x = inputs(pool[places])
        for outputs, model in zip(rows, models, strict=True):
            outputs.append(call(model, x))
    found = []
    for outputs in rows:
        # Each process fills in its own rows; those of the others are zero.
        own = torch.cat(outputs)
        whole = own.new_zeros(len(pool), *own.shape[1:])
        whole[share] = own
        found.append(ranks.total(whole))
    return found
