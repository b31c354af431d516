"""How worker processes start: where it is safe, forked from a process that has loaded what they need."""

import multiprocessing
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from initsearch.execution.environment import inherited, same_imports

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext, SpawnContext

#: The environment variable that names what `preloaded` imports, separated by commas. A fork server's preload
#: takes module names and nothing else.
PRELOAD = "INITSEARCH_PRELOAD"


def worker_context(device: int | None = None) -> "ForkServerContext | SpawnContext":
    """How to start a worker.

    Importing torch and Lightning costs a process about ten seconds of processor time. A fork server pays for
    it once for all workers; it is used on Linux for workers on the CPU. Elsewhere, what libraries hold (a
    CUDA context, a framework of macOS) may not survive a fork, and each worker starts from scratch.

    Args:
        device: The worker's GPU; None: it has none of its own.
    """
    forks = sys.platform == "linux" and device is None
    return (
        multiprocessing.get_context("forkserver") if forks else multiprocessing.get_context("spawn")
    )


def start_preloading(modules: Sequence[str]) -> None:
    """Start the process from which workers are forked. It imports these modules while this process continues.

    There is one such process per program. If it is already running, this does nothing, and each worker imports
    what is missing.

    Args:
        modules: Names of modules.
    """
    context = worker_context()
    if context.get_start_method() == "forkserver":
        # Not at the top: not every system has fork servers.
        from multiprocessing.forkserver import ensure_running

        context.set_forkserver_preload(["initsearch.execution.preloaded"])
        with sigint_blocked(), inherited({PRELOAD: ",".join(modules), **same_imports()}):
            ensure_running()


@contextmanager
def sigint_blocked() -> Iterator[None]:
    """Block Ctrl-C in this thread, and in processes that it starts, from their first moment.

    Windows has no signal masks: there, Ctrl-C can interrupt a process while it starts.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
