"""The environment variables of processes that are started."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


def same_imports() -> dict[str, str]:
    """The variables with which a new Python imports modules from where this one does, in the same order.

    `python -c` and `python -m` look in the current folder first, whatever this process does; `PYTHONSAFEPATH`
    (Python 3.11) keeps them from it.
    """
    path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
    return {"PYTHONPATH": path, "PYTHONSAFEPATH": "1"}


@contextmanager
def inherited(variables: Mapping[str, str]) -> Iterator[None]:
    """Environment variables that processes inherit that are started in this context."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
