"""Workers in simulated time: what a coordinator keeps them busy with, without waiting for anything."""

import heapq
import random
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

import pytest
from study_runs import Listener, end_of

from initsearch.search.jobs import job_book
from initsearch.training import CohortResult, Job, TrainJob

Train = Callable[[Job], CohortResult]


class VirtualWorkers(Executor):
    """An executor whose clock advances only while a result is awaited.

    Jobs take one unit of time per candidate and epoch, more or less by up to 30%; they start in the order in
    which they were submitted.

    Attributes:
        begun: Start, end and job, for every job that was started.
    """

    def __init__(self, workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.begun: list[tuple[float, float, Job]] = []
        self._workers = workers
        self._queue: deque[tuple[Train, Job, Future[CohortResult]]] = deque()
        self._running: list[tuple[float, int, Train, Job, Future[CohortResult]]] = []
        executor = self

        class Awaited(Future[CohortResult]):
            def result(self, timeout: float | None = None) -> CohortResult:
                while not self.done():
                    executor.tick()
                return super().result(timeout)

        monkeypatch.setattr(job_book, "Future", Awaited)

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        (job,) = args
        future: Future[Any] = Future()
        self._queue.append((fn, job, future))
        self._fill()
        return future

    def tick(self) -> None:
        """Finish the job that ends next."""
        self.now, _, train, job, future = heapq.heappop(self._running)
        self._fill()
        try:
            future.set_result(train(job))
        except Exception as error:  # noqa: BLE001  # as an executor does
            future.set_exception(error)

    def _fill(self) -> None:
        while self._queue and len(self._running) < self._workers:
            train, job, future = self._queue.popleft()
            if not future.set_running_or_notify_cancel():
                continue
            luck = random.Random(f"{job.seed}{job.candidates[0].name}{end_of(job)}")
            end = self.now + _work_of(job) * luck.uniform(0.7, 1.3)
            self.begun.append((self.now, end, job))
            heapq.heappush(self._running, (end, len(self.begun), train, job, future))

    def busy_share(self, start: float, end: float) -> float:
        """The share of the workers' time in which they trained."""
        busy = sum(max(0.0, min(stop, end) - max(begin, start)) for begin, stop, _ in self.begun)
        return busy / (self._workers * (end - start))


def _work_of(job: Job) -> float:
    if not isinstance(job, TrainJob):
        return 0.0
    return len(job.candidates) * (job.stop_epoch - job.start_epoch)


class Stopwatch(Listener):
    """Notes when each phase of a study begins.

    Attributes:
        phases: By phase the time at which it began.
    """

    def __init__(self, workers: VirtualWorkers) -> None:
        super().__init__()
        self.phases: dict[str, float] = {}
        self._workers = workers

    def phase(self, name: str, total: float) -> None:
        super().phase(name, total)
        self.phases[name] = self._workers.now
