"""How a process ended, in words."""

import signal


def describe_exit(status: int) -> str:
    """How a process ended, as the end of a sentence that begins with its name.

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
    # Only the kernel's out-of-memory killer sends this one without being asked.
    cause = ", probably out of memory" if name == "SIGKILL" else ""
    return f"was killed by signal {-status} ({name}){cause}"
