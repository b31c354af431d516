"""Decoded images, cached in a file: the next process does not decode them again."""

import pickle
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from filelock import FileLock
from torch import Tensor

from initsearch.files import written_aside


def cached(path: Path, fingerprint: str, decode: Callable[[], Tensor]) -> Tensor:
    """The tensor in a file, if its fingerprint is the same; else what `decode` returns.

    In the second case the file is written, completely or not at all. Other processes wait for it meanwhile.
    If the folder cannot be written to, a warning says so and nothing is cached.

    Args:
        path: The file; missing folders are made.
        fingerprint: Identifies everything the images depend on.
        decode: Makes the images.
    """
    x = _read(path, fingerprint)
    if x is not None:
        return x
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            x = _read(path, fingerprint)
            if x is None:
                x = decode()
                _write(path, fingerprint, x)
    except OSError as error:
        warnings.warn(
            f"decoded images cannot be cached, and each process decodes them again ({error}): "
            "set XDG_CACHE_HOME to a folder that can be written to",
            stacklevel=2,
        )
    return decode() if x is None else x


def _read(path: Path, fingerprint: str) -> Tensor | None:
    try:
        content = torch.load(path, weights_only=True)
        x = content["x"] if content["fingerprint"] == fingerprint else None
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError, LookupError, TypeError):
        return None  # missing or damaged: the images are decoded again
    return x if isinstance(x, Tensor) else None


def _write(path: Path, fingerprint: str, x: Tensor) -> None:
    with written_aside(path) as temporary:
        torch.save({"fingerprint": fingerprint, "x": x}, temporary)
