"""Several trackers as one."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack

from initsearch.search.tracker import (
    Candidate,
    CandidateStatus,
    Measurement,
    StudyInfo,
    Tracker,
)
from initsearch.search.verdict import Verdict
from initsearch.tracking.store.interrupts import interrupts_deferred


class TrackerGroup:
    """Passes every call to each of its trackers, in order; Ctrl-C is deferred to the end of each call.

    Args:
        trackers: Makes them when a study starts: a finished study needs none, and MLflow takes seconds to load.
    """

    def __init__(self, trackers: Callable[[], Sequence[Tracker]]) -> None:
        self._make = trackers
        self._trackers: tuple[Tracker, ...] = ()

    def start_study(self, study: StudyInfo) -> None:
        """See `Tracker`."""
        self._trackers = self._trackers or tuple(self._make())
        self._each(lambda tracker: tracker.start_study(study))

    def start_candidate(self, candidate: Candidate) -> None:
        """See `Tracker`."""
        self._each(lambda tracker: tracker.start_candidate(candidate))

    def measure(self, candidate: str, measurements: Sequence[Measurement]) -> None:
        """See `Tracker`."""
        self._each(lambda tracker: tracker.measure(candidate, measurements))

    def end_candidate(self, candidate: str, status: CandidateStatus, reason: str) -> None:
        """See `Tracker`."""
        self._each(lambda tracker: tracker.end_candidate(candidate, status, reason))

    def end_study(self, verdict: Verdict) -> None:
        """See `Tracker`."""
        self._each(lambda tracker: tracker.end_study(verdict))

    def _each(self, call: Callable[[Tracker], None]) -> None:
        with interrupts_deferred():
            for tracker in self._trackers:
                call(tracker)

    def close(self) -> None:
        """Close every tracker, even if another one raises."""
        with interrupts_deferred(), ExitStack() as stack:
            for tracker in reversed(self._trackers):
                stack.callback(tracker.close)
