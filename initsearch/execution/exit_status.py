"""How a process ended, in words."""

import signal

#: What the kernel's out-of-memory killer sends; Windows has no such signal.
SIGKILL = 9


def probably_out_of_memory(status: int) -> bool:
    """Whether a process that was not killed on purpose ended as the out-of-memory killer ends one."""
    return status == -SIGKILL


def describe_exit(status: int) -> str:
    """How a process ended, as the predicate of a sentence.

    Args:
        status: Its exit status as `subprocess` and `multiprocessing` have it: negative for a signal.
    """
    if status >= 0:
        return f"exited with status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:  # a real-time signal, or another system's
        return f"was killed by signal {-status}"
    if name == "SIGSEGV":
        return "was ended by a segmentation fault (SIGSEGV)"
    cause = ", probably out of memory" if probably_out_of_memory(status) else ""
    return f"was killed by signal {-status} ({name}){cause}"
