"""Functions that the executors' tests run in other processes: importable there by name."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from initsearch.errors import ConfigError

RANK = "INITSEARCH_TEST_RANK"


def square(x: int) -> int:
    return x * x


def join(*words: str, between: str = " ") -> str:
    return between.join(words)


def fail(message: str) -> None:
    raise ValueError(message)


def refuse(message: str) -> None:
    raise ConfigError(message)


class LambdaError(Exception):
    """Does not pickle: it holds a function without a name."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.retry = lambda: None


class TwoPartsError(Exception):
    """Pickles, but cannot be read back: its constructor takes two arguments and passes on one."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} {second}")


def fail_with_a_lambda() -> None:
    raise LambdaError("disk on fire")


def fail_in_two_parts() -> None:
    raise TwoPartsError("disk", "on fire")


def unpicklable() -> object:
    return lambda: None


def leave(status: int) -> None:
    sys.exit(status)


def process_id() -> int:
    return os.getpid()


def parent_id() -> int:
    return os.getppid()


def variable(name: str) -> str | None:
    return os.environ.get(name)


def loaded(module: str) -> bool:
    return module in sys.modules


def die_times(times: int, folder: str) -> int:
    """Kill the process that runs it, the first `times` times; then the number of attempts."""
    mine = Path(folder) / f"{os.getpid()}-{time.monotonic_ns()}"
    mine.touch()
    attempts = len(list(Path(folder).iterdir()))
    if attempts <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return attempts


def exit_at_once(status: int) -> None:
    os._exit(status)


def exit_with_words(status: int, words: str) -> None:
    os.write(sys.stderr.fileno(), words.encode())
    os._exit(status)


def segfault() -> None:
    ctypes.string_at(0)


def nap(folder: str, seconds: float) -> int:
    """Write a file that is named by the process id, and sleep."""
    path = Path(folder) / f"{os.getpid()}.pid"
    path.write_text(str(os.getpid()))
    time.sleep(seconds)
    return os.getpid()


def nap_alone(folder: str, seconds: int) -> None:
    """The same, in C code that lets no other thread of Python run."""
    path = Path(folder) / f"{os.getpid()}.pid"
    path.write_text(str(os.getpid()))
    ctypes.PyDLL(None).sleep(seconds)


def ignores_interrupts() -> bool:
    signal.raise_signal(signal.SIGINT)
    return True


def rank_of_two(failing: str = "") -> str:
    """Start this program a second time, as Lightning does for DDP; the result names the rank.

    Where the second rank ends with a failure, the first is killed: it would wait for the other for ever.
    """
    rank = os.environ.get(RANK, "0")
    if rank == "0":
        command = [sys.executable, "-m", "initsearch.execution.program", *sys.argv[1:]]
        other = subprocess.run(command, env={**os.environ, RANK: "1"}, check=False)
        if other.returncode != 0:
            os.kill(os.getpid(), signal.SIGKILL)
    if rank == failing:
        raise ConfigError(f"rank {rank} has no data")
    return f"rank {rank}"


def nap_in_two(folder: str, seconds: float) -> None:
    """Start this program a second time, and sleep in both."""
    if RANK not in os.environ:
        command = [sys.executable, "-m", "initsearch.execution.program", *sys.argv[1:]]
        with subprocess.Popen(command, env={**os.environ, RANK: "1"}):
            nap(folder, seconds)
    nap(folder, seconds)


def pids_of_joined_ranks(store: str, failing: bool = False) -> list[int]:
    """Start this program a second time and join it, as Lightning's DDP does; join only once."""
    import torch
    from torch import distributed

    if not distributed.is_initialized():
        rank = int(os.environ.setdefault(RANK, "0"))
        if rank == 0:
            command = [sys.executable, "-m", "initsearch.execution.program", *sys.argv[1:]]
            subprocess.Popen(command, env={**os.environ, RANK: "1"})
        method = f"file://{store}/{os.environ['INITSEARCH_ANSWERED'].rpartition('-')[2]}"
        distributed.init_process_group("gloo", init_method=method, rank=rank, world_size=2)
    pids = [torch.zeros(1, dtype=torch.int64) for _ in range(2)]
    distributed.all_gather(pids, torch.tensor([os.getpid()]))
    if failing:
        raise ConfigError("no data")
    return [int(pid) for pid in pids]
