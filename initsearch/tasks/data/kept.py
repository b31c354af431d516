"""Images that took long to decode, kept as a file so that the next process need not."""

import pickle
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from filelock import FileLock
from torch import Tensor

from initsearch.files import written_aside


def kept(path: Path, fingerprint: str, decode: Callable[[], Tensor]) -> Tensor:
    """The tensor in a file, if the fingerprint is still the same; else what `decode` gives.

    In the second case the file is written, whole or not at all. Processes that come meanwhile wait
    for it. Where the folder cannot be written to, a warning says so and nothing is kept.

    Args:
        path: The file; missing folders are made.
        fingerprint: Stands for all that the images depend on.
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
            f"decoded images are not kept, so that each process decodes them anew ({error}): "
            "set XDG_CACHE_HOME to a folder that can be written to",
            stacklevel=2,
        )
    return decode() if x is None else x


def _read(path: Path, fingerprint: str) -> Tensor | None:
    try:
        content = torch.load(path, weights_only=True)
        x = content["x"] if content["fingerprint"] == fingerprint else None
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError, LookupError, TypeError):
        return None  # not there, or damaged: decoding makes it anew
    return x if isinstance(x, Tensor) else None


def _write(path: Path, fingerprint: str, x: Tensor) -> None:
    with written_aside(path) as temporary:
        torch.save({"fingerprint": fingerprint, "x": x}, temporary)
