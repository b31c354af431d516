"""Decode image files into one uint8 tensor."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from initsearch.errors import DataError

_GRAY = ("1", "L", "LA")
_DEEP = ("I", "F")  # and I;16 …: more than 8 bits, which Pillow clips instead of scaling


def decode(files: Sequence[str], size: int | None = None) -> Tensor:
    """The images of some files, uint8 (N, C, H, W): C is 1 if every file is gray, else 3.

    Args:
        files: Paths of image files, at least one.
        size: Side in pixels: the shorter side is resized to it, the centre cropped. None: as is.

    Raises:
        DataError: A file cannot be decoded, has more than 8 bits per channel, or differs in size.
    """
    # Pillow releases the interpreter's lock while it decodes: threads help.
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        images = list(threads.map(partial(_decode_one, size=size), files))
    for file, image in zip(files, images, strict=True):
        if image.shape[:2] != images[0].shape[:2]:
            (height, width), (first_height, first_width) = image.shape[:2], images[0].shape[:2]
            raise DataError(
                f"images must be of one size, but {file} has {width}x{height} pixels and "
                f"{files[0]} {first_width}x{first_height}: give data.image_size=32 or another side"
            )
    if all(image.ndim == 2 for image in images):
        return torch.from_numpy(np.stack(images)).unsqueeze(1)
    colored = [image if image.ndim == 3 else np.stack([image] * 3, axis=-1) for image in images]
    return torch.from_numpy(np.stack(colored)).permute(0, 3, 1, 2).contiguous()


def _decode_one(file: str, size: int | None) -> NDArray[np.uint8]:
    """One image, uint8: (H, W) if it is gray, else (H, W, 3)."""
    try:
        with Image.open(file) as opened:
            if opened.mode.startswith(_DEEP):
                raise DataError(
                    f"{file} must have 8 bits per channel, but has mode {opened.mode}: convert it"
                )
            image: Image.Image = opened.convert("L" if opened.mode in _GRAY else "RGB")
        if size is not None:
            image = ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)
        pixels: NDArray[Any] = np.asarray(image, dtype=np.uint8)
    except DataError:
        raise
    except Exception as error:  # decoders may raise anything on foreign bytes
        reason = " ".join(str(error).split())
        raise DataError(
            f"{file} cannot be decoded as an image ({type(error).__name__}: {reason}): "
            "replace or remove that file"
        ) from error
    return pixels
