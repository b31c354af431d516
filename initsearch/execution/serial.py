"""`SerialExecutor`: runs calls in this process."""

from collections.abc import Callable
from concurrent.futures import Future
from typing import ParamSpec, TypeVar

from initsearch.execution.base import JobExecutor
from initsearch.execution.call import run_call

P = ParamSpec("P")
T = TypeVar("T")


class SerialExecutor(JobExecutor):
    """Runs a call in this process and thread, before `submit` returns: Ctrl-C reaches it directly."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run a call; the future is done when it is returned."""
        future: Future[T] = Future()
        try:
            future.set_result(run_call(fn, *args, **kwargs))
        except Exception as error:  # noqa: BLE001  # a future holds whatever the call raised
            future.set_exception(error)
        return future
