"""How the end of a process is put into words."""

import signal

import pytest

from initsearch.execution.exit_status import describe_exit


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0, "exited with status 0"),
        (3, "exited with status 3"),
        (-9, "was killed by signal 9 (SIGKILL), probably out of memory"),
        (-15, "was killed by signal 15 (SIGTERM)"),
        (-6, "was killed by signal 6 (SIGABRT)"),
        (-int(signal.SIGSEGV), "was ended by a segmentation fault (SIGSEGV)"),
        (-63, "was killed by signal 63"),
    ],
)
def test_a_status_is_named_and_only_sigkill_is_blamed_on_memory(status: int, words: str) -> None:
    assert describe_exit(status) == words
