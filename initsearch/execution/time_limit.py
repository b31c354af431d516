"""The time that a call has taken, and whether that is too long."""

import time

from initsearch.errors import JobEndedError
from initsearch.execution.base import TimeLimit

#: Seconds between two looks at a call that runs.
TICK = 0.5
#: A longer pause between two looks does not count: this process was stopped meanwhile (Ctrl-Z, a suspended
#: machine), and so were the calls.
LONGEST_TICK = 10.0


class CallTime:
    """The time of one call, from now on.

    Args:
        limit: The seconds that it may take.
    """

    def __init__(self, limit: TimeLimit) -> None:
        self._limit = limit
        self._taken = 0.0
        self._last = time.monotonic()

    def overrun(self) -> JobEndedError | None:
        """An error if the call has taken too long; to be asked every `TICK` seconds."""
        now = time.monotonic()
        self._taken += min(now - self._last, LONGEST_TICK)
        self._last = now
        limit = self._limit()
        if limit is None or self._taken <= limit:
            return None
        return JobEndedError(
            f"a job was ended after {limit:.6g} s, its time limit: raise job_timeout= if it needs longer; to "
            "see where it hangs, set workers=0 and press Ctrl-C",
            limit,
        )


def no_limit() -> None:
    """The limit of a call that may take any time."""
