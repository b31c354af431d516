"""`JobExecutor`: what every executor can do."""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from types import TracebackType
from typing import ParamSpec, Protocol, Self, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

#: The seconds that a call may take; None: no limit. It is asked again while the call runs, since what is known
#: of other calls may have changed.
TimeLimit = Callable[[], float | None]

#: How often a call is run whose process dies: one death may be the fault of a neighbour that takes all memory,
#: three are not.
ATTEMPTS = 3


class JobExecutor(Executor):
    """An executor that can be ended at once: leaving its `with` block by an exception does so.

    A subclass implements `submit` and `shutdown` of `concurrent.futures.Executor`, and `terminate` if calls
    run outside `submit`. The function, its arguments and its result are picklable. A future holds what the
    function returned or raised; `sys.exit()` in a function is a `JobEndedError`.
    """

    def submit_limited(
        self, limit: TimeLimit, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> Future[T]:
        """Run a call, and end it if it takes too long: its future then raises a `JobEndedError`.

        By default there is no limit: an executor that runs a call inside `submit` cannot end it.

        Args:
            limit: The seconds that the call may take once it has started.
            fn: What to call.
            args: Its arguments.
            kwargs: Its named arguments.
        """
        return self.submit(fn, *args, **kwargs)

    def terminate(self) -> None:
        """End running calls without waiting for their results, and cancel the others.

        The default does nothing: an executor that runs a call inside `submit` has nothing to end.
        """

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self.terminate()
        self.shutdown(wait=True)


def submit_limited(
    executor: Executor,
    limit: TimeLimit,
    fn: Callable[P, T],
    /,
    *args: P.args,
    **kwargs: P.kwargs,
) -> Future[T]:
    """Run a call by any executor; only a `JobExecutor` can hold the limit, see its `submit_limited`."""
    if isinstance(executor, JobExecutor):
        return executor.submit_limited(limit, fn, *args, **kwargs)
    return executor.submit(fn, *args, **kwargs)


class ExecutorFactory(Protocol):
    """What an entry point of the group `initsearch.executors` leads to: it makes an executor."""

    def __call__(
        self,
        *,
        workers: int,
        devices: Sequence[int],
        distributed: bool,
        preload: Sequence[str],
    ) -> JobExecutor:
        """An executor for these arguments; see `make_executor`."""
