"""A batch of the training data, as `training_step` would get it, drawn without moving any random state."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch

from initsearch.callback.bases import class_for
from initsearch.errors import ModelError, first_line, shortened
from initsearch.random_state import isolated_random_state

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer

#: The start of the error of a plan that needs a batch.
NONE_GIVEN = "the plan needs a batch, but the training data gave none"
REMEDY = "pass InitCallback(..., batch=...)"


def training_batch(trainer: "Trainer", pl_module: "LightningModule", seed: int) -> Any:
    """The first batch of the training data, after the hooks that change a batch (`on_after_batch_transfer`).

    Several loaders are combined as the Trainer combines them (`CombinedLoader`): the batch is then a dict or a
    list of batches.

    Args:
        trainer: A trainer whose fit has begun.
        pl_module: The module that it trains.
        seed: Of the random state in which the batch is drawn; all random states are as before afterwards.

    Raises:
        ModelError: There is none.
    """
    try:
        # What was given to fit, or what the datamodule or the module makes.
        loader = trainer.fit_loop._data_source.dataloader()
        combined = _combined(trainer, loader)
        with isolated_random_state(seed=seed, generators=list(generators(loader))):
            batch = next(iter(loader)) if combined is None else next(iter(combined))[0]
            return pl_module._apply_batch_transfer_handler(batch)
    except Exception as error:  # users' data code may raise anything
        raise ModelError(f"{NONE_GIVEN} ({reason(error)}): {REMEDY}") from error


def is_collection(trainer: "Trainer") -> bool:
    """Whether the training data come from several loaders."""
    return _combined(trainer, trainer.fit_loop._data_source.dataloader()) is not None


def reason(error: Exception) -> str:
    """The first line of an error, shortened."""
    return shortened(first_line(error))


def combined_loader(trainer: "Trainer", loaders: Any, mode: str) -> Any:
    """What Lightning makes of loaders: a `CombinedLoader` of its own.

    Args:
        trainer: Whose Lightning is used.
        loaders: One or several; a `CombinedLoader` keeps its mode.
        mode: How several are combined.
    """
    if type(loaders).__name__ == "CombinedLoader":
        loaders, mode = loaders.iterables, loaders._mode
    return class_for(trainer, "utilities.combined_loader:CombinedLoader")(loaders, mode)


def _combined(trainer: "Trainer", loader: Any) -> Any:
    """A `CombinedLoader` of its own for several loaders; None for a single one."""
    several = isinstance(loader, Mapping | list | tuple)
    if not several and type(loader).__name__ != "CombinedLoader":
        return None
    return combined_loader(trainer, loader, "max_size_cycle")


def generators(loader: Any) -> Iterator[torch.Generator]:
    """The generators that loaders and their samplers draw from."""
    if isinstance(loader, Mapping):
        loader = list(loader.values())
    if isinstance(loader, list | tuple):
        for each in loader:
            yield from generators(each)
        return
    if type(loader).__name__ == "CombinedLoader":
        yield from generators(loader.iterables)
        return
    sampler, batches = getattr(loader, "sampler", None), getattr(loader, "batch_sampler", None)
    for holder in (loader, sampler, batches, getattr(batches, "sampler", None)):
        generator = getattr(holder, "generator", None)
        if isinstance(generator, torch.Generator):
            yield generator
