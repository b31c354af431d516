"""How worker processes begin: from a process that has loaded what they need, sharing its owner's life.

Imports nothing heavy: a worker listens for its end before it loads torch.
"""

import ctypes
import importlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from multiprocessing.forkserver import ensure_running

#: What a job needs, most of it torch and Lightning.
LOADED = "initsearch.training.run"

#: `mallopt`'s parameters and the largest value of an int (malloc.h of glibc, mallopt(3)).
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, LARGEST = -1, -3, 2**31 - 1
#: What glibc before 2.35 allows as M_MMAP_THRESHOLD at most, on 64 bits (half of HEAP_MAX_SIZE).
LARGEST_OF_OLD = 32 * 2**20

_lifeline: Connection | None = None  # a connection that nothing holds would be closed
_device: int | None = None


def worker_context(device: int | None = None) -> BaseContext:
    """How to start a worker: forked from a process that has loaded torch and Lightning, where that is safe.

    Loading takes each process some ten processor seconds; a fork server pays them once for all workers. It
    is used on Linux for workers on the CPU: elsewhere what libraries keep (a CUDA context, a framework of
    macOS) may not outlive a fork, and workers are started afresh.

    Args:
        device: The worker's GPU; None: it has none of its own.
    """
    forks = sys.platform == "linux" and device is None
    return multiprocessing.get_context("forkserver" if forks else "spawn")


def preload() -> None:
    """Have the process load now from which workers will be forked; it goes on while this one does else."""
    context = worker_context()
    if context.get_start_method() == "forkserver":
        context.set_forkserver_preload(["initsearch.training.preloaded"])
        with sigint_blocked():
            ensure_running()


@contextmanager
def sigint_blocked() -> Iterator[None]:
    """Keep Ctrl-C from this thread, and from the processes that it starts, from their first moment."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def begin(lifeline: Connection, device: int | None, environment: Mapping[str, str]) -> None:
    """What a worker process does first.

    Args:
        lifeline: The reading end of a pipe; the process ends when the other end is closed.
        device: The number of the GPU that is this process's own, whatever jobs say; None: as they say.
        environment: The coordinator's environment variables of now; a fork server has those of its own start.
    """
    global _lifeline, _device
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the coordinator to handle
    die_with(lifeline.fileno())
    keep_freed_memory()
    os.environ.clear()
    os.environ.update(environment)
    _lifeline, _device = lifeline, device


def keep_freed_memory() -> None:
    """Have this process keep the memory that it frees, as CUDA's allocator does, for it is needed again soon.

    Each step of a training takes and frees the same large tensors. By default glibc gives them back to the
    kernel, from which they come anew, page by page: 5 to 25 % of a step of a small convolutional net, and
    most where several processes train. The process then stays as large as it ever was. Other C libraries
    are left as they are.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
        # A threshold that is refused must not be followed by the other: that alone would freeze the one for
        # mappings where it stands, and larger tensors would be mapped anew each time.
        if mallopt is not None and (
            mallopt(M_MMAP_THRESHOLD, LARGEST) or mallopt(M_MMAP_THRESHOLD, LARGEST_OF_OLD)
        ):
            mallopt(M_TRIM_THRESHOLD, LARGEST)


def load(module: str) -> None:
    """Import a module now, rather than when the first job needs it."""
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
