"""Lightning's Trainer as a cohort needs it: without files, and on one thread."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer

from initsearch.errors import ConfigError
from initsearch.training.trainer_settings import TrainerSettings


def make_trainer(settings: TrainerSettings, device: int | None = None) -> Trainer:
    """A Trainer for one stretch of a block's batches, which leaves no file behind.

    Args:
        settings: Lightning's arguments among them are passed on unchanged.
        device: The GPU of this process, where each process has its own; replaces `devices`.

    Raises:
        ConfigError: Lightning refuses a setting (no such accelerator, precision, ...).
    """
    arguments = settings.lightning
    if device is not None:
        arguments["devices"] = [device]
    try:
        return Trainer(
            **arguments,
            max_epochs=1,
            limit_val_batches=0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
    except (
        ValueError,
        TypeError,
        RuntimeError,
        MisconfigurationException,
    ) as error:
        reason = " ".join(str(error).split())
        chosen = settings.model_dump(exclude_unset=True)
        raise ConfigError(f"trainer settings {chosen} cannot be used: {reason}") from error


@contextmanager
def one_thread(device: torch.device) -> Iterator[None]:
    """One thread for a process that trains on the CPU: more slow down small models, and each other.

    The order of floating-point sums depends on the number of threads: one thread also makes results equal
    for any number of workers.
    """
    threads = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
