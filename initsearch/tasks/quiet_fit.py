"""`Trainer.fit` without messages, and with a Ctrl-C that stops it."""

import logging
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer

#: Those of Lightning, and of `InitCallback`, which writes its table for each fit.
LOGGERS = ("lightning.pytorch", "lightning.fabric", "pytorch_lightning", "initsearch.callback")


@contextmanager
def quiet() -> Iterator[None]:
    """Silence what Lightning says about every fit, and warnings that do not apply to a search."""
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


def fit(trainer: "Trainer", module: "LightningModule", **data: Any) -> None:
    """`trainer.fit`, which raises a KeyboardInterrupt as one.

    Lightning (2.6) turns Ctrl-C into `sys.exit(1)` and makes the process ignore SIGINT from then on.

    Args:
        trainer: Whose `fit` is called.
        module: What is trained.
        data: The keywords of `fit` that give data.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed.
    """
    in_main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(module, **data)
    except SystemExit as exiting:
        if isinstance(exiting.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise
    finally:
        if in_main and signal.getsignal(signal.SIGINT) is not handler:
            signal.signal(signal.SIGINT, handler)
