"""Trainings that their time limit ended: kept in files, so that they are tried again if the limit is raised."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from initsearch.files import read_whole, write_whole
from initsearch.search.jobs.time_limits import JobTimeout, TimeLimits

#: The ending of the file that stands beside the place of a result.
ENDING = ".overrun"


@dataclass(frozen=True)
class Overrun:
    """A training of one candidate that took too long.

    Attributes:
        candidate: The candidate's name.
        message: The error's text.
        setting: The `job_timeout` that held.
        seconds: The seconds that it had.
    """

    candidate: str
    message: str
    setting: JobTimeout
    seconds: float


class OverrunBook:
    """The overruns of a study.

    Args:
        folder: Where results of trainings are kept.
        limits: The limits that hold now.
        report: Gets one line about a damaged file.
    """

    def __init__(self, folder: Path, limits: TimeLimits, report: Callable[[str], None]) -> None:
        self._folder = folder
        self._limits = limits
        self._report = report

    def note(self, result: Path, candidate: str, message: str, seconds: float) -> None:
        """Keep that a training took too long.

        Args:
            result: The file that its result would have.
            candidate: The candidate's name.
            message: The error's text.
            seconds: The time that it had.
        """
        overrun = Overrun(candidate, message, self._limits.setting, seconds)
        write_whole(result.with_suffix(ENDING), json.dumps(asdict(overrun)) + "\n")

    def of(self, result: Path) -> Overrun | None:
        """The overrun of a training that would take too long again; None if there is none."""
        overrun = self._read(result.with_suffix(ENDING))
        return None if overrun is None or self._may_end(overrun) else overrun

    @property
    def candidates(self) -> set[str]:
        """The names of all candidates that ever had an overrun."""
        return {overrun.candidate for overrun in map(self._read, self._files()) if overrun}

    @property
    def may_end_now(self) -> bool:
        """Whether there is a training without a result that has more time now."""
        waiting = [file for file in self._files() if not file.with_suffix(".json").exists()]
        return any(overrun and self._may_end(overrun) for overrun in map(self._read, waiting))

    def _may_end(self, overrun: Overrun) -> bool:
        return self._limits.is_longer_than(overrun.setting, overrun.seconds)

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob(f"*{ENDING}"))

    def _read(self, file: Path) -> Overrun | None:
        return read_whole(file, lambda data: Overrun(**json.loads(data)), self._report)
