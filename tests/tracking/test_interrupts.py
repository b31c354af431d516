"""Ctrl-C waits for a record to be whole, and is not lost."""

import signal
import threading
from pathlib import Path

import pytest
from studies import made_up_study

from initsearch.search.tracker import StudyInfo
from initsearch.tracking.group import TrackerGroup
from initsearch.tracking.report import ReportTracker
from initsearch.tracking.store.interrupts import interrupts_deferred


class Slow(ReportTracker):
    """Ctrl-C is pressed in the midst of its call."""

    whole = False

    def start_study(self, study: StudyInfo) -> None:
        signal.raise_signal(signal.SIGINT)
        self.whole = True


def test_ctrl_c_waits_for_the_trackers_call(tmp_path: Path) -> None:
    first, second = Slow(), Slow()
    with pytest.raises(KeyboardInterrupt):
        TrackerGroup(lambda: [first, second]).start_study(made_up_study(tmp_path))
    assert first.whole
    assert second.whole
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_nothing_is_raised_where_nothing_was_pressed() -> None:
    with interrupts_deferred():
        pass
    with pytest.raises(ValueError, match="mine"), interrupts_deferred():
        raise ValueError("mine")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_other_threads_hear_of_no_signal() -> None:
    done: list[bool] = []

    def work() -> None:
        with interrupts_deferred():
            done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [True]
