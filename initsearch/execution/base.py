"""`JobExecutor`: what every executor can do."""

from collections.abc import Sequence
from concurrent.futures import Executor
from types import TracebackType
from typing import Protocol, Self

#: How often a call is run whose process dies: one death may be the fault of a neighbour that takes all memory,
#: three are not.
ATTEMPTS = 3


class JobExecutor(Executor):
    """An executor that can be ended at once: leaving its `with` block by an exception does so.

    A subclass implements `submit` and `shutdown` of `concurrent.futures.Executor`, and `terminate` if calls
    run outside `submit`. The function, its arguments and its result are picklable. A future holds what the
    function returned or raised; `sys.exit()` in a function is an `InitSearchError`.
    """

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
