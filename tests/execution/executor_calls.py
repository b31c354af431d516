"""What the executor's tests run in other processes: importable there by name."""

import os
import signal
import time
from pathlib import Path


def square(x: int) -> int:
    return x * x


def fail(message: str) -> None:
    raise ValueError(message)


def process_id() -> int:
    return os.getpid()


def variable(name: str) -> str | None:
    return os.environ.get(name)


def die_times(times: int, folder: str) -> int:
    """Kill the process that runs it, the first `times` times; then the number of tries."""
    mine = Path(folder) / f"{os.getpid()}-{time.monotonic_ns()}"
    mine.touch()
    tries = len(list(Path(folder).iterdir()))
    if tries <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return tries


def nap(folder: str, seconds: float) -> int:
    """Say that it runs, by a file that holds its process id, and sleep."""
    path = Path(folder) / f"{os.getpid()}.pid"
    path.write_text(str(os.getpid()))
    time.sleep(seconds)
    return os.getpid()


def ignores_interrupts() -> bool:
    signal.raise_signal(signal.SIGINT)
    return True
