"""What a worker process does: it prepares itself, then answers calls until its owner ends.

Imports nothing heavy: a worker can end with its owner before it has loaded what calls need.
"""

import importlib
import os
import pickle
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection

from initsearch.execution.call import answer
from initsearch.execution.memory import keep_freed_memory

_device: int | None = None


def serve(
    calls: Connection,
    lifeline: Connection,
    device: int | None,
    environment: Mapping[str, str],
    preload: Sequence[str],
) -> None:
    """Answer calls until the owner of this process ends or closes the lifeline.

    Args:
        calls: Questions come, and answers leave, as `call` packs them. An empty message says that this process
            is ready.
        lifeline: The reading end of a pipe; the process ends when the other end is closed.
        device: The number of the GPU that belongs to this process; None: it has none of its own.
        environment: The owner's environment variables of now; a fork server has those of its own start.
        preload: Modules to import before the first call.
    """
    global _device
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the owner's to handle
    die_with(lifeline.recv_bytes)
    keep_freed_memory()
    os.environ.clear()
    os.environ.update(environment)
    _device = device
    for module in preload:
        load(module)
    with suppress(EOFError, ConnectionError):  # the owner has ended
        calls.send_bytes(b"")
        while True:
            calls.send_bytes(pickle.dumps(answer(calls.recv_bytes())))


def load(module: str) -> None:
    """Import a module now, rather than when the first call needs it."""
    # A module that cannot be imported is reported by the call that needs it.
    with suppress(Exception):
        importlib.import_module(module)


def own_device() -> int | None:
    """The number of the GPU that belongs to this process; None: it has none of its own."""
    return _device


def die_with(read: Callable[[], object]) -> None:
    """End this process when the other end of a pipe is closed, as happens when its owner dies.

    Args:
        read: Reads from the pipe, to which nothing is ever written: it returns or raises at its end.
    """

    def watch() -> None:
        with suppress(EOFError, OSError):
            read()
        os._exit(1)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()
