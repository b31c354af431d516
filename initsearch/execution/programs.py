"""`ProgramExecutor`: calls in a program of their own, for calls that start themselves again."""

import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from initsearch.errors import JobEndedError
from initsearch.execution.base import ATTEMPTS, TimeLimit
from initsearch.execution.call import Answer, pack
from initsearch.execution.environment import same_imports
from initsearch.execution.exit_status import SIGKILL, describe_exit, probably_out_of_memory
from initsearch.execution.questions import answer_file, question_file
from initsearch.execution.threaded import ThreadedExecutor
from initsearch.execution.time_limit import TICK, CallTime
from initsearch.files import write_whole

T = TypeVar("T")

#: The module that runs a call as a program.
PROGRAM = "initsearch.execution.program"
#: Remedies for a job whose program is killed each time.
LESS_MEMORY = "lower optimizer.batch_size=, or raise trainer.devices="
FIND_THE_CAUSE = "set PYTHONFAULTHANDLER=1 in the environment to see where it happens"
#: Seconds between two looks for an answer.
LOOK = 0.01
#: How much of a failed program's output its error quotes, in characters.
QUOTED = 4000


class ProgramExecutor(ThreadedExecutor):
    """Runs calls by `python -m initsearch.execution.program`, one after another.

    Lightning starts the ranks of a DDP training by running this process's command again. As the program's
    command, that is the calls and nothing else; as a search's, it would be the whole search, once per rank.

    A program whose ranks a call has joined runs the calls that follow too; see there.
    """

    def __init__(self) -> None:
        super().__init__(1, "program")
        self._lock = threading.Lock()
        self._program: _Program | None = None
        self._killed = False

    def _run(
        self, limit: TimeLimit, fn: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> T:
        question = pack(fn, args, kwargs)
        for _ in range(ATTEMPTS):
            status, log, answer = self._attempt(question, limit)
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

    def _attempt(self, question: bytes, limit: TimeLimit) -> tuple[int, str, Answer | None]:
        """Ask the program once: its exit status, the end of its output, and its answer if it gave one."""
        with self._lock:
            if self._killed:
                raise CancelledError
            if self._program is None:
                self._program = _Program(question)
            else:
                self._program.ask(question)
            program = self._program
        stays = False
        try:
            answer, stays = program.answer(limit)
            status, log = (0, "") if stays else program.ended()
        finally:
            if not stays:
                self._close()
        return status, log, answer

    def _close(self) -> None:
        """Let the program end, if there is one; it is waiting, or has ended."""
        with self._lock:  # `terminate` may want to end it
            program, self._program = self._program, None
        if program is not None:
            program.close()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accept no more calls; with `wait`, return when all are done."""
        self._threads.shutdown(wait=wait, cancel_futures=cancel_futures)
        if wait:
            self._close()

    def terminate(self) -> None:
        """End the running program with all its ranks; calls that have not started are cancelled."""
        with self._lock:
            self._killed = True
            if self._program is not None:
                self._program.kill()
        self._threads.shutdown(wait=False, cancel_futures=True)


class _Program:
    """A program that runs, with the folder of its questions and answers.

    Args:
        question: Its first question.
    """

    def __init__(self, question: bytes) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="initsearch-")
        self._folder = Path(self._temporary.name)
        self._number = -1
        self._log = self._folder / "log.txt"
        self.ask(question)
        with self._log.open("wb") as out:
            # In a session (on Windows: a group) of its own: Ctrl-C in the terminal does not reach it, and a
            # kill reaches all ranks.
            self._process = subprocess.Popen(
                [sys.executable, "-m", PROGRAM, str(self._folder), "--lifeline"],
                env={**os.environ, **same_imports()},
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=out,
                start_new_session=True,
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
            )

    def ask(self, question: bytes) -> None:
        """Give it a question; it has answered the one before, and waits."""
        self._number += 1
        write_whole(question_file(self._folder, self._number), question)

    def answer(self, limit: TimeLimit) -> tuple[Answer | None, bool]:
        """The answer to the last question, None if it ended without; and whether it waits for another.

        Raises:
            JobEndedError: It took too long, and was ended.
        """
        taken, looked = CallTime(limit), time.monotonic()
        path = answer_file(self._folder, self._number)
        answer: Answer | None = None
        while True:
            ended = self._process.poll() is not None
            if answer is None and path.exists():
                answer, stays = pickle.loads(path.read_bytes())
                if stays:
                    return answer, True
            if ended:  # also after an answer: a rank that failed may have given it, before the first has ended
                return answer, False
            time.sleep(LOOK)
            if time.monotonic() - looked >= TICK:
                looked = time.monotonic()
                if (too_long := taken.overrun()) is not None:
                    self.kill()
                    raise too_long

    def ended(self) -> tuple[int, str]:
        """The exit status and the end of the output of a program that ends by itself."""
        status = _signal_of(self._process.wait())
        return status, self._log.read_text(encoding="utf-8", errors="replace")[-QUOTED:]

    def kill(self) -> None:
        """End it with all its ranks, at once."""
        if self._process.poll() is None:
            _end_group(self._process)

    def close(self) -> None:
        """Cut its lifeline, which ends all ranks, and remove its folder."""
        with self._process:
            pass
        self._temporary.cleanup()


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
