"""What Ctrl-C does in a program of the command line before and after it has work to lose.

Python raises a KeyboardInterrupt wherever it is. In an import that ends in a traceback, or is swallowed.
"""

import os
import signal
from contextlib import suppress
from types import FrameType

#: The exit status that a shell reports for a program that Ctrl-C ended (128 + SIGINT).
INTERRUPTED = 130
_STDERR = 2


class _Exit:
    """A handler of Ctrl-C that writes one line, if any, and ends this process at once."""

    def __init__(self, message: str) -> None:
        self._line = f"{message}\n".encode() if message else b""

    def __call__(self, number: int, frame: FrameType | None) -> None:
        with suppress(OSError):  # standard error may be closed
            os.write(_STDERR, self._line)
        os._exit(INTERRUPTED)


def exit_at_interrupt(message: str = "") -> None:
    """From now on, Ctrl-C ends this process at once, with exit status 130. Called in the main thread.

    A process that was started to ignore Ctrl-C (`nohup`, a shell's background jobs) continues to ignore it.

    Args:
        message: A line for standard error; empty: none.
    """
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _Exit(message))


def raise_at_interrupt() -> None:
    """From now on, Ctrl-C raises a KeyboardInterrupt again, if `exit_at_interrupt` was called before."""
    if isinstance(signal.getsignal(signal.SIGINT), _Exit):
        signal.signal(signal.SIGINT, signal.default_int_handler)
