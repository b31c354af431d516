"""MNIST and CIFAR-10, read by torchvision from its own layout on disk."""

import math
import pickle
from pathlib import Path

import torch
from torchvision import datasets

from initsearch.errors import DataError
from initsearch.tasks.data.download import ensure
from initsearch.tasks.data.images import ImageData, LabelledImages, assemble
from initsearch.tasks.data.settings import DataSettings

MNIST_FILES = tuple(name.removesuffix(".gz") for name, _ in datasets.MNIST.resources)
# The header of an IDX file: two zero bytes, 8 for unsigned bytes, the number of dimensions, then
# each dimension as four bytes, highest first (http://yann.lecun.com/exdb/mnist/).
_IDX_UNSIGNED_BYTES = b"\0\0\x08"


def load_mnist(settings: DataSettings) -> ImageData:
    """MNIST, uint8 (N, 1, 28, 28): 60000 images to train on, 10000 to test. LeCun et al. 1998.

    Raises:
        DataError: It is neither on disk nor downloadable, or a file is truncated or foreign.
    """
    raw = settings.folder / "MNIST" / "raw"
    ensure("mnist", "MNIST", [raw / name for name in MNIST_FILES], settings)
    for name in MNIST_FILES:
        _check_idx(raw / name, dimensions=3 if "images" in name else 1)
    train, test = (
        LabelledImages(read.data.unsqueeze(1), read.targets)
        for read in (datasets.MNIST(settings.folder, train=train) for train in (True, False))
    )
    classes = tuple(str(digit) for digit in range(10))
    return assemble("mnist", train, test, classes, str(raw), settings.image_size)


def load_cifar10(settings: DataSettings) -> ImageData:
    """CIFAR-10, uint8 (N, 3, 32, 32): 50000 images to train on, 10000 to test. Krizhevsky 2009.

    Raises:
        DataError: It is neither on disk nor downloadable, or a file is truncated or foreign.
    """
    cifar = datasets.CIFAR10
    folder = settings.folder / cifar.base_folder
    names = [name for name, _ in (*cifar.train_list, *cifar.test_list)]
    files = [folder / name for name in (*names, cifar.meta["filename"])]
    ensure("cifar10", "CIFAR10", files, settings)
    try:
        # torchvision checks the MD5 sum of every file before it unpickles it.
        train, test = (cifar(settings.folder, train=train) for train in (True, False))
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, pickle.PickleError) as error:
        raise DataError(
            f"data set 'cifar10' in {folder} is truncated or foreign ({type(error).__name__}): "
            "delete that folder to download it again, or point data.root= at a complete copy"
        ) from error
    train_part, test_part = (
        LabelledImages(
            torch.from_numpy(read.data).permute(0, 3, 1, 2).contiguous(), torch.tensor(read.targets)
        )
        for read in (train, test)
    )
    return assemble(
        "cifar10", train_part, test_part, tuple(train.classes), str(folder), settings.image_size
    )


def _check_idx(path: Path, dimensions: int) -> None:
    """Refuse a file that torchvision would read in part or fail on: it checks no size.

    Raises:
        DataError: The file is no IDX file of bytes, or its length differs from what its header says.
    """
    remedy = "delete that file to download it again, or point data.root= at a complete copy"
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            header = file.read(4 + 4 * dimensions)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}): {remedy}") from error
    if header[:4] != _IDX_UNSIGNED_BYTES + bytes([dimensions]) or len(header) < 4 + 4 * dimensions:
        raise DataError(
            f"{path} is not an IDX file of unsigned bytes in {dimensions} dimensions: {remedy}"
        )
    shape = [int.from_bytes(header[i : i + 4], "big") for i in range(4, len(header), 4)]
    if 0 in shape:
        raise DataError(f"{path} must hold at least one item, but has none: {remedy}")
    expected = len(header) + math.prod(shape)
    if size != expected:
        raise DataError(
            f"{path} must have {expected} bytes by its header, but has {size}: {remedy}"
        )
