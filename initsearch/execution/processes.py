"""`ProcessExecutor`: worker processes, each replaced if it dies."""

import atexit
import os
import pickle
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from queue import SimpleQueue
from typing import Any, TypeVar

from initsearch.errors import JobEndedError
from initsearch.execution.base import ATTEMPTS, TimeLimit
from initsearch.execution.call import Answer, pack
from initsearch.execution.exit_status import describe_exit, probably_out_of_memory
from initsearch.execution.fork_server import sigint_blocked, start_preloading, worker_context
from initsearch.execution.threaded import ThreadedExecutor
from initsearch.execution.time_limit import TICK, CallTime
from initsearch.execution.worker import serve

T = TypeVar("T")

#: Remedies for a job whose process dies each time.
LESS_MEMORY = "lower workers=, search.cohort_size= or optimizer.batch_size="
FIND_THE_CAUSE = (
    "set workers=0, and PYTHONFAULTHANDLER=1 in the environment, to see where it happens"
)
#: Seconds in which a process whose connection has broken ends by itself, so that its exit status is known.
GRACE = 5.0
#: Seconds in which a process whose lifeline is cut ends. Code that never lets Python's threads run keeps it
#: from that: it is killed then.
FAREWELL = 2.0
#: The exit status of a process whose own was lost, because the process that it was forked from has ended.
UNKNOWN = 255

# `multiprocessing` asks all processes of a program for their exit status whenever it starts one. Two threads
# that ask at the same moment take it from each other.
_processes = threading.Lock()


class ProcessExecutor(ThreadedExecutor):
    """Worker processes, each with one call at a time; one that dies is replaced and its call repeated.

    Ctrl-C is for this process to handle: the workers ignore it. They end when this process ends, however it
    ends.

    Args:
        devices: One worker per entry: its GPU's number, or None for a worker on the CPU.
        preload: Modules that workers import before their first call, while this process continues.
    """

    def __init__(self, devices: Sequence[int | None], preload: Sequence[str] = ()) -> None:
        if None in devices:
            start_preloading(preload)
        super().__init__(len(devices), "worker")
        self._workers = [_Worker(device, preload) for device in devices]
        self._idle: SimpleQueue[_Worker] = SimpleQueue()
        atexit.register(self.terminate)  # before `multiprocessing` waits for all processes to end
        try:
            for worker in self._workers:
                worker.warm_up()
                self._idle.put(worker)
        except BaseException:  # Ctrl-C, before the executor is in a `with` block
            self.terminate()
            raise

    def _run(
        self, limit: TimeLimit, fn: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> T:
        question = pack(fn, args, kwargs)
        worker = self._idle.get()
        try:
            answer = worker.run(question, limit)
        finally:
            self._idle.put(worker)
        result: T = answer.value()
        return result

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accept no more calls; with `wait`, return when all are done and the workers have ended."""
        self._threads.shutdown(wait=wait, cancel_futures=cancel_futures)
        if wait:
            for worker in self._workers:
                worker.close()
            atexit.unregister(self.terminate)

    def terminate(self) -> None:
        """End the workers at once; calls that have not started are cancelled."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for worker in self._workers:
            worker.kill()


class _EndedError(Exception):
    """A process that cannot answer.

    Args:
        how: How it ended.
        remedy: What the user can do about it.
        final: Whether it would end so again, since its own code ended it.
    """

    def __init__(self, how: str, remedy: str, final: bool = False) -> None:
        super().__init__(how)
        self.remedy = remedy
        self.final = final


class _Worker:
    """One process, started again after it has died. One thread at a time runs a call with it.

    It dies when its lifeline is cut, which any thread may do.
    """

    def __init__(self, device: int | None, preload: Sequence[str]) -> None:
        self._device, self._preload = device, preload
        self._context = worker_context(device)
        self._process: BaseProcess | None = None
        self._calls: Connection | None = None
        self._ready = False
        self._lifeline: Connection | None = None
        self._lock = threading.Lock()
        self._killed = False

    def warm_up(self) -> None:
        """Start the process now, unless it will be forked from one that has loaded what calls need."""
        if self._context.get_start_method() != "forkserver":
            self._start()

    def run(self, question: bytes, limit: TimeLimit) -> Answer:
        """The answer to a question.

        Raises:
            JobEndedError: The process exited by itself, was killed at every attempt, or took too long.
            CancelledError: The worker was killed.
        """
        for _ in range(ATTEMPTS):
            try:
                return self._ask(question, limit)
            except _EndedError as error:
                ended = error
                if ended.final:
                    break
        times = "" if ended.final else f", {ATTEMPTS} times on the same job"
        raise JobEndedError(f"a worker process {ended}{times}: {ended.remedy}") from ended

    def _ask(self, question: bytes, limit: TimeLimit) -> Answer:
        process, calls = self._start()
        try:
            calls.send_bytes(question)
            if not self._ready:  # to load what calls need is no part of the first call
                wait([calls, process.sentinel])
                if calls.poll():
                    calls.recv_bytes()
                    self._ready = True
            taken = CallTime(limit)
            # The sentinel as well: children of a dead worker may hold its connection open.
            while not wait([calls, process.sentinel], TICK):
                if self._killed:  # its lifeline was cut, but its code lets no other thread run
                    process.kill()
                elif (too_long := taken.overrun()) is not None:
                    process.kill()
                    self.close()
                    raise too_long
            if calls.poll():
                answer: Answer = pickle.loads(calls.recv_bytes())
                return answer
        except (EOFError, ConnectionError):
            pass
        status = self.close(GRACE)
        with self._lock:
            if self._killed:
                raise CancelledError
        remedy = LESS_MEMORY if probably_out_of_memory(status) else FIND_THE_CAUSE
        raise _EndedError(describe_exit(status), remedy, final=0 <= status != UNKNOWN)

    def _start(self) -> tuple[BaseProcess, Connection]:
        """The process and the connection to it; started if it is not there."""
        with self._lock:
            if self._killed:
                raise CancelledError
            if self._process is not None and self._calls is not None:
                return self._process, self._calls
            its_lifeline, self._lifeline = self._context.Pipe(duplex=False)
        its_calls, calls = self._context.Pipe()
        arguments = (its_calls, its_lifeline, self._device, dict(os.environ), self._preload)
        process = self._context.Process(target=serve, args=arguments)
        # Not under the worker's lock: a fork server answers when it has loaded everything, and `kill` must
        # not wait for that. A process that starts after its lifeline was cut ends at once.
        try:
            with _processes, sigint_blocked():  # what the new process inherits
                process.start()
        except (EOFError, ConnectionError) as error:
            calls.close()
            self._cut()
            how = "could not be forked, because the process to fork it from has ended"
            raise _EndedError(how, LESS_MEMORY) from error
        finally:
            its_calls.close()
            its_lifeline.close()
        self._process, self._calls = process, calls
        return process, calls

    def close(self, grace: float = 0.0) -> int:
        """End the process, which has no call to answer; its exit status (0 if there was no process).

        Args:
            grace: Seconds to wait for it to end by itself.
        """
        status = 0
        process, calls = self._process, self._calls
        if process is not None:
            wait([process.sentinel], grace)
        self._cut()  # left to itself, a process that has loaded torch takes seconds to tidy up
        if process is not None and calls is not None:
            if not wait([process.sentinel], FAREWELL):
                process.kill()
            with _processes:
                process.join()
                status = process.exitcode or 0
            process.close()
            calls.close()
        self._process = self._calls = None
        self._ready = False
        return status

    def kill(self) -> None:
        """End the process at once, and start no other."""
        with self._lock:
            self._killed = True
        self._cut()

    def _cut(self) -> None:
        with self._lock:
            if self._lifeline is not None:
                self._lifeline.close()
                self._lifeline = None
