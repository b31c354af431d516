"""What a worker process knows of itself: whose life it shares, and its GPU.

Imports nothing heavy: a worker listens for its end before it loads torch.
"""

import importlib
import os
import signal
import threading
from multiprocessing.connection import Connection

_lifeline: Connection | None = None  # a connection that nothing holds would be closed
_device: int | None = None


def begin(lifeline: Connection, device: int | None) -> None:
    """What a worker process does first.

    Args:
        lifeline: The reading end of a pipe; the process ends when the other end is closed.
        device: The number of the GPU that is this process's own, whatever jobs say; None: as they say.
    """
    global _lifeline, _device
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the coordinator to handle
    die_with(lifeline.fileno())
    _lifeline, _device = lifeline, device


def load(module: str) -> None:
    """Import a module now, rather than when the first job needs it: torch and Lightning take seconds."""
    importlib.import_module(module)


def own_device() -> int | None:
    """The number of the GPU that is this process's own; None: it has none of its own."""
    return _device


def die_with(lifeline: int) -> None:
    """End this process when the other end of a pipe is closed, as it is when its owner dies.

    Args:
        lifeline: The reading end, as a file descriptor; nothing is ever written to the pipe.
    """

    def watch() -> None:
        os.read(lifeline, 1)
        os._exit(1)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()
