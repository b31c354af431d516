"""Lightning's Trainer as a cohort needs it: without files and messages, and with a Ctrl-C that stops it."""

import logging
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningModule, Trainer

from initsearch.errors import ConfigError
from initsearch.training.trainer_settings import TrainerSettings

LOGGERS = ("lightning.pytorch", "lightning.fabric")


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
def quiet() -> Iterator[None]:
    """Silence what Lightning says about every fit, and warnings that do not apply to a cohort."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.WARNING)
        with warnings.catch_warnings():
            # The settings say where to train: an unused GPU is the user's choice.
            warnings.filterwarnings("ignore", message="GPU available but not used")
            # Lightning 2.6 builds its loaders with a class that torch 2.14 deprecates.
            warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)`")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


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


def fit(trainer: Trainer, module: LightningModule) -> None:
    """`trainer.fit`, which raises a KeyboardInterrupt as one.

    Lightning (2.6) turns Ctrl-C into `sys.exit(1)` and makes the process ignore SIGINT from then on.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed.
    """
    in_main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(module)
    except SystemExit as exiting:
        if isinstance(exiting.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise
    finally:
        if in_main and signal.getsignal(signal.SIGINT) is not handler:
            signal.signal(signal.SIGINT, handler)
