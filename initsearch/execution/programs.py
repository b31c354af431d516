"""`ProgramExecutor`: each call in a program of its own, for calls that start themselves again."""

import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from initsearch.errors import JobEndedError
from initsearch.execution.base import ATTEMPTS, JobExecutor, TimeLimit
from initsearch.execution.call import Answer, pack
from initsearch.execution.environment import same_imports
from initsearch.execution.exit_status import SIGKILL, describe_exit, probably_out_of_memory
from initsearch.execution.time_limit import TICK, CallTime, no_limit

P = ParamSpec("P")
T = TypeVar("T")

#: The module that runs a call as a program.
PROGRAM = "initsearch.execution.program"
#: Remedies for a job whose program is killed each time.
LESS_MEMORY = "lower optimizer.batch_size=, or raise trainer.devices="
FIND_THE_CAUSE = "set PYTHONFAULTHANDLER=1 in the environment to see where it happens"
#: How much of a failed program's output its error quotes, in characters.
QUOTED = 4000


class ProgramExecutor(JobExecutor):
    """Runs each call by `python -m initsearch.execution.program`, one after another.

    Lightning starts the ranks of a DDP training by running this process's command again. As the program's
    command, that is one call and nothing else; as a search's, it would be the whole search, once per rank.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="program")
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._killed = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run a call after those before it; function, arguments and result must be picklable."""
        return self._threads.submit(self._run, no_limit, fn, args, kwargs)

    def submit_limited(
        self, limit: TimeLimit, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> Future[T]:
        """The same; a program that takes too long is ended with all its ranks."""
        return self._threads.submit(self._run, limit, fn, args, kwargs)

    def _run(
        self, limit: TimeLimit, fn: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> T:
        question = pack(fn, args, kwargs)
        for _ in range(ATTEMPTS):
            with tempfile.TemporaryDirectory(prefix="initsearch-") as folder:
                status, log, answer = self._attempt(question, Path(folder), limit)
            if self._killed:
                raise CancelledError
            if answer is not None:
                result: T = answer.value()
                return result
            if status >= 0:
                raise RuntimeError(f"the program of a job {describe_exit(status)}:\n{log}")
        remedy = LESS_MEMORY if probably_out_of_memory(status) else FIND_THE_CAUSE
        raise JobEndedError(
            f"the program of a job {describe_exit(status)}, {ATTEMPTS} times: {remedy}"
        )

    def _attempt(
        self, question: bytes, folder: Path, limit: TimeLimit
    ) -> tuple[int, str, Answer | None]:
        """Run the program once: its exit status, the end of its output, and its answer if it gave one."""
        asked, answered, log = folder / "question", folder / "answer", folder / "log.txt"
        asked.write_bytes(question)
        with log.open("wb") as out:
            with self._lock:
                if self._killed:
                    raise CancelledError
                # In a session (on Windows: a group) of its own: Ctrl-C in the terminal does not reach it, and
                # a kill reaches all ranks.
                self._process = subprocess.Popen(
                    [sys.executable, "-m", PROGRAM, str(asked), str(answered), "--lifeline"],
                    env={**os.environ, **same_imports()},
                    stdin=subprocess.PIPE,
                    stdout=out,
                    stderr=out,
                    start_new_session=True,
                    creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
                )
            with self._process:  # closes its lifeline, after the wait
                status = _wait(self._process, limit)
        answer: Answer | None = pickle.loads(answered.read_bytes()) if answered.exists() else None
        text = log.read_text(encoding="utf-8", errors="replace")[-QUOTED:]
        return _signal_of(status), text, answer

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accept no more calls; with `wait`, return when all are done."""
        self._threads.shutdown(wait=wait, cancel_futures=cancel_futures)

    def terminate(self) -> None:
        """End the running program with all its ranks; calls that have not started are cancelled."""
        with self._lock:
            self._killed = True
            if self._process is not None and self._process.poll() is None:
                _end_group(self._process)
        self._threads.shutdown(wait=False, cancel_futures=True)


def _wait(process: "subprocess.Popen[bytes]", limit: TimeLimit) -> int:
    """The exit status of a program; one that takes too long is ended.

    Raises:
        JobEndedError: It took too long.
    """
    taken = CallTime(limit)
    while True:
        with suppress(subprocess.TimeoutExpired):
            return process.wait(TICK)
        if (too_long := taken.overrun()) is not None:
            _end_group(process)
            raise too_long


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End a program and what it has started."""
    if not hasattr(os, "killpg"):  # Windows: the other ranks end when their lifeline is closed
        process.kill()
        return
    with suppress(ProcessLookupError):  # it ended in this very moment
        os.killpg(process.pid, signal.SIGKILL)


def _signal_of(status: int) -> int:
    """An exit status, negative for a signal also where a shell or a launcher reports it as 128 + signal."""
    return 128 - status if status in (128 + signal.SIGTERM, 128 + SIGKILL) else status
