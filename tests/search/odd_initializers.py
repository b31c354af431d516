"""Initializers that go wrong, by dotted path: worker processes find them by this module's name."""

import ctypes
import os
import signal
import sys
import time
from pathlib import Path

import torch
from torch import Tensor

from initsearch.initializers import register

KILL_ONCE = "INITSEARCH_TEST_KILL_ONCE"


@register("test_broken")
def broken(tensor: Tensor) -> None:
    raise RuntimeError(f"no weights of shape {tuple(tensor.shape)} today")


def kill_once(tensor: Tensor, *, generator: torch.Generator) -> None:
    """Kill the process that runs it, but only the first time; from then on draw N(0, 0.1)."""
    mark = Path(os.environ[KILL_ONCE])
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    tensor.normal_(0.0, 0.1, generator=generator)


def hangs(tensor: Tensor) -> None:
    time.sleep(600)


def leaves(tensor: Tensor) -> None:
    sys.exit()


def exits(tensor: Tensor) -> None:
    os._exit(3)


def segfaults(tensor: Tensor) -> None:
    ctypes.string_at(0)
