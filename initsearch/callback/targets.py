"""The targets of the training data, for plans that need them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import Subset, TensorDataset

from initsearch.callback.batches import generators, reason
from initsearch.errors import ModelError
from initsearch.random_state import isolated_random_state

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

# Where batches that are mappings have their targets.
_NAMES = ("labels", "label", "targets", "target", "y")
# Enough to know the frequency of a class of one in a thousand to a third.
_MOST = 10_000


def training_targets(trainer: "Trainer", seed: int) -> Tensor:
    """All targets that the data set keeps, as those of torchvision do, or those of the first 10,000 examples.

    Args:
        trainer: A trainer whose fit has begun.
        seed: Of the random state in which batches are drawn; all random states are as before afterwards.

    Raises:
        ModelError: There are none.
    """
    try:
        loader = trainer.fit_loop._data_source.dataloader()
        found = _kept(getattr(loader, "dataset", None))
        if found is not None:
            return found
        drawn: list[Tensor] = []
        with isolated_random_state(seed=seed, generators=list(generators(loader))):
            for batch in loader:
                drawn.append(_of(batch))
                if sum(map(len, drawn)) >= _MOST:
                    break
        return torch.cat(drawn)
    except Exception as error:  # users' data code may raise anything
        raise ModelError(
            f"the plan needs the targets of the training data, but they were not found ({reason(error)}): give "
            "frequencies in the plan"
        ) from error


def _kept(dataset: Any) -> Tensor | None:
    """The targets that a data set keeps as a whole."""
    if isinstance(dataset, Subset):
        whole = _kept(dataset.dataset)
        return None if whole is None else whole[torch.as_tensor(dataset.indices)]
    if isinstance(dataset, TensorDataset) and len(dataset.tensors) > 1:
        return dataset.tensors[1]
    for name in ("targets", "labels"):
        kept = getattr(dataset, name, None)
        if kept is not None and len(kept) == len(dataset):
            return torch.as_tensor(kept)
    return None


def _of(batch: Any) -> Tensor:
    if not isinstance(batch, Mapping):
        return torch.as_tensor(batch[1])
    name = next((name for name in _NAMES if name in batch), None)
    if name is None:
        raise KeyError(f"a batch has {', '.join(map(str, batch))}, and none of {', '.join(_NAMES)}")
    return torch.as_tensor(batch[name])
