"""`ThreadedExecutor`: an executor whose threads each wait for a call that runs elsewhere."""

from abc import abstractmethod
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

from initsearch.execution.base import JobExecutor, TimeLimit
from initsearch.execution.time_limit import no_limit

P = ParamSpec("P")
T = TypeVar("T")


class ThreadedExecutor(JobExecutor):
    """Runs calls outside this process, as many at once as it has threads.

    A subclass runs one call in `_run`, and ends what it has started in `shutdown` and `terminate`.

    Args:
        threads: How many calls run at once.
        name: What the threads are called.
    """

    def __init__(self, threads: int, name: str) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run a call as soon as a thread is idle; function, arguments and result must be picklable."""
        return self._threads.submit(self._run, no_limit, fn, args, kwargs)

    def submit_limited(
        self, limit: TimeLimit, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> Future[T]:
        """The same; what runs a call that takes too long is ended."""
        return self._threads.submit(self._run, limit, fn, args, kwargs)

    @abstractmethod
    def _run(
        self, limit: TimeLimit, fn: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> T:
        """Run a call and return its result; in one of the threads."""
