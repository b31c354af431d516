"""Where jobs run: in this process, in worker processes, or, under DDP, each in a program of its own.

All of it stands behind `concurrent.futures.Executor`, so that another one can be put in its place.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, Executor, Future, ProcessPoolExecutor
from concurrent.futures import ThreadPoolExecutor as Threads
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar, cast

from initsearch import errors
from initsearch.checks import check_int
from initsearch.errors import ConfigError, InitSearchError
from initsearch.training.job import CohortResult, Job
from initsearch.training.process import (
    LOADED,
    begin,
    load,
    preload,
    sigint_blocked,
    worker_context,
)
from initsearch.training.trainer_settings import TrainerSettings

P = ParamSpec("P")
T = TypeVar("T")

# A job whose process is killed is tried again: once may be a neighbour's fault (memory), three
# times not.
ATTEMPTS = 3
#: Where `run_job` is, which a program of its own runs.
WORKER = "initsearch.training.worker"


class JobExecutor(Executor):
    """An executor that can be stopped at once: leaving its `with` block by an exception does so."""

    def terminate(self) -> None:
        """End what runs, without waiting for its result."""

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


def make_executor(workers: int, trainer: Mapping[str, Any]) -> JobExecutor:
    """The executor for a number of workers and the settings of the trainer.

    Results do not depend on which one it is: a job's is a function of the job alone.

    Args:
        workers: 1: jobs run in this process, at the moment they are handed in. More: as many
            processes, each with one thread, or with a GPU of its own where the trainer asks for
            GPUs.
        trainer: The config group `trainer`. One whose training spreads over processes (`strategy:
            ddp`, or several devices) has every job run as a program of its own, one after another.

    Raises:
        ConfigError: `workers` is below 1, or above 1 where one training takes all devices.
    """
    check_int("workers", workers)
    settings = TrainerSettings.from_mapping(trainer)
    if settings.distributed:
        if workers > 1:
            raise ConfigError(
                f"workers must be 1 where one training spreads over {settings.device_count} devices, "
                f"but got {workers}: set workers=1, or trainer.devices=1"
            )
        return ProgramExecutor()
    if workers == 1:
        return SerialExecutor()
    gpus = settings.gpus
    return ProcessExecutor([gpus[i % len(gpus)] if gpus else None for i in range(workers)])


class SerialExecutor(JobExecutor):
    """Runs a call in this process and thread, before `submit` returns: Ctrl-C reaches it directly."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run a call; the future that comes back is done."""
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001  # a future carries whatever the call raises
            future.set_exception(error)
        return future


class ProcessExecutor(JobExecutor):
    """Worker processes, each with one call at a time; a killed one is replaced and its call repeated.

    What a job needs is loaded while this process goes on.

    Ctrl-C is this process's to handle: the workers do not see it. They end when this process does,
    however it ends.

    Args:
        devices: One worker per entry: its GPU's number, or None for a worker on the CPU.
    """

    def __init__(self, devices: list[int | None]) -> None:
        if None in devices:
            preload()
        self._threads = Threads(len(devices), thread_name_prefix="worker")
        self._workers = [_Worker(device) for device in devices]
        self._idle: SimpleQueue[_Worker] = SimpleQueue()
        try:
            for worker in self._workers:
                worker.warm_up()
                self._idle.put(worker)
        except BaseException:  # Ctrl-C, before anybody could end them
            self.terminate()
            raise

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Hand a call to the next idle worker; function, arguments and result must pickle."""
        return self._threads.submit(self._run, lambda pool: pool.submit(fn, *args, **kwargs))

    def _run(self, submit: "Callable[[ProcessPoolExecutor], Future[T]]") -> T:
        worker = self._idle.get()
        try:
            return worker.run(submit)
        finally:
            self._idle.put(worker)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; with `wait`, return when all are done and the workers have ended."""
        self._threads.shutdown(wait=wait, cancel_futures=cancel_futures)
        if wait:
            for worker in self._workers:
                worker.close()

    def terminate(self) -> None:
        """End the workers at once; calls that have not begun are cancelled."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for worker in self._workers:
            worker.kill()


class _Worker:
    """One process, started again when it was killed.

    A pool of one process each, rather than one pool of several: when a process dies, it is known
    whose job killed it, and nobody else's is touched.
    """

    def __init__(self, device: int | None) -> None:
        self._device = device
        self._context = worker_context(device)
        self._pool: ProcessPoolExecutor | None = None
        self._lifeline: Connection | None = None
        self._lock = threading.Lock()
        self._killed = False

    def warm_up(self) -> None:
        """Start the process and have it load what a job needs, unless it will be forked with that loaded."""
        if self._context.get_start_method() != "forkserver":
            self._submit(lambda pool: pool.submit(load, LOADED))

    def run(self, submit: "Callable[[ProcessPoolExecutor], Future[T]]") -> T:
        for _ in range(ATTEMPTS):
            try:
                return self._submit(submit).result()
            except BrokenProcessPool:
                self.close()
        raise InitSearchError(
            f"a worker process was killed {ATTEMPTS} times at the same job, most likely for want of memory: "
            "lower workers=, or train fewer candidates together"
        )

    def _submit(self, submit: "Callable[[ProcessPoolExecutor], Future[T]]") -> "Future[T]":
        with self._lock:
            if self._killed:
                raise CancelledError
            pool = self._pool = self._pool or self._start()
        # Not under the lock: a fork server answers when it has loaded all, and `kill` must not wait for that.
        # A process that starts after its lifeline was cut ends at once.
        try:
            with sigint_blocked():  # what the new process inherits
                return submit(pool)
        except (EOFError, ConnectionError) as error:
            raise BrokenProcessPool("the process that workers are forked from has ended") from error

    def _start(self) -> ProcessPoolExecutor:
        reader, self._lifeline = self._context.Pipe(duplex=False)
        return ProcessPoolExecutor(
            1,
            mp_context=self._context,
            initializer=begin,
            initargs=(reader, self._device, dict(os.environ)),
        )

    def close(self) -> None:
        """End the process, which has no call to answer."""
        with self._lock:
            self._cut()  # left to itself, a process that has loaded torch takes seconds to tidy up
        if self._pool is not None:
            self._pool.shutdown(wait=True)
            self._pool = None

    def kill(self) -> None:
        """End the process at once: it dies when its lifeline is cut."""
        with self._lock:
            self._killed = True
            self._cut()

    def _cut(self) -> None:
        if self._lifeline is not None:
            self._lifeline.close()
            self._lifeline = None


class ProgramExecutor(JobExecutor):
    """Runs each job by `python -m initsearch.training.worker`, one after another.

    Lightning starts the ranks of a DDP training by running this process's command again. As the
    worker's command it is one job and nothing else; as a search's it would be the whole search,
    once per rank.
    """

    def __init__(self) -> None:
        self._threads = Threads(1, thread_name_prefix="program")
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._killed = False

    @property
    def process_id(self) -> int | None:
        """The process id (and session) of the program that runs, or ran last; None before the first."""
        return self._process.pid if self._process is not None else None

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Hand in a job: `submit(run_job, job)`; no other function can be run this way."""
        name = (getattr(fn, "__module__", None), getattr(fn, "__qualname__", None))
        known = name == (WORKER, "run_job")
        if not known or len(args) != 1 or kwargs or not isinstance(args[0], Job):
            raise TypeError(f"only run_job(job) runs as a program of its own, not {fn!r}")
        return cast(Future[T], self._threads.submit(self._run, args[0]))

    def _run(self, job: Job) -> CohortResult:
        for _ in range(ATTEMPTS):
            with tempfile.TemporaryDirectory(prefix="initsearch-") as folder:
                code, log, answer = self._attempt(job, Path(folder))
            if self._killed:
                raise CancelledError
            if "result" in answer:
                return CohortResult.from_json(answer["result"])
            if "error" in answer:
                raise getattr(errors, answer["error"]["type"])(answer["error"]["message"])
            if code > 0 and code not in (128 + signal.SIGTERM, 128 + signal.SIGKILL):
                raise RuntimeError(f"the training program failed with status {code}:\n{log}")
        raise InitSearchError(
            f"the training program was killed {ATTEMPTS} times at the same job (status {code}), most likely "
            "for want of memory: lower optimizer.batch_size, or take more devices"
        )

    def _attempt(self, job: Job, folder: Path) -> tuple[int, str, dict[str, Any]]:
        question, answer, log = folder / "job.json", folder / "result.json", folder / "log.txt"
        question.write_text(json.dumps(job.to_json()), encoding="utf-8")
        command = [
            sys.executable,
            "-m",
            WORKER,
            str(question),
            str(answer),
            "--lifeline",
        ]
        # A folder that is importable here (the empty entry: the current one) is so there.
        path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
        with log.open("wb") as out:
            with self._lock:
                if self._killed:
                    raise CancelledError
                # In a session of its own: Ctrl-C in the terminal does not reach it, a kill reaches
                # all ranks.
                self._process = subprocess.Popen(
                    command,
                    env={**os.environ, "PYTHONPATH": path},
                    stdin=subprocess.PIPE,
                    stdout=out,
                    stderr=out,
                    start_new_session=True,
                )
            with self._process:  # which closes its lifeline, after the wait
                code = self._process.wait()
        given = json.loads(answer.read_text(encoding="utf-8")) if answer.exists() else {}
        return code, log.read_text(encoding="utf-8", errors="replace")[-4000:], given

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more jobs; with `wait`, return when all are done."""
        self._threads.shutdown(wait=wait, cancel_futures=cancel_futures)

    def terminate(self) -> None:
        """End the running program with all its ranks; jobs that have not begun are cancelled."""
        with self._lock:
            self._killed = True
            if self._process is not None and self._process.poll() is None:
                with suppress(ProcessLookupError):  # it ended in this very moment
                    os.killpg(self._process.pid, signal.SIGKILL)
        self._threads.shutdown(wait=False, cancel_futures=True)
