"""`StudyClock`: how long a study has taken, over all its runs."""

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from initsearch.files import read_whole, write_whole

#: Seconds between two writes: jobs may be much shorter.
INTERVAL = 1.0


class StudyClock:
    """Wall time of a study over all its runs, kept in a file.

    A run that is killed loses the time of the jobs in flight, since `save` is called when a job ends.

    Args:
        file: Where the time is kept.
        report: Gets one line if the file is damaged.
    """

    def __init__(self, file: Path, report: Callable[[str], None]) -> None:
        self._file = file
        self._before = (
            read_whole(file, lambda data: float(json.loads(data)["seconds"]), report) or 0.0
        )
        self._started = self._saved = time.perf_counter()
        self._lock = threading.Lock()  # executors' threads save as well

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        return float(self._before + time.perf_counter() - self._started)

    def save(self) -> None:
        """Write the time, unless that was done within the last second."""
        with self._lock:
            if time.perf_counter() - self._saved >= INTERVAL:
                self._write()

    def _write(self) -> None:
        write_whole(self._file, json.dumps({"seconds": self.seconds}))
        self._saved = time.perf_counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock:
            self._write()
