"""MNIST and CIFAR-10, read by torchvision from its own layout on disk."""

import math
import pickle
from pathlib import Path

import torch
from torchvision import datasets

from initsearch.errors import DataError
from initsearch.tasks.data.config import DataConfig
from initsearch.tasks.data.download import ensure
from initsearch.tasks.data.images import ImageData, Part, assemble

MNIST_FILES = tuple(name.removesuffix(".gz") for name, _ in datasets.MNIST.resources)
# The header of an IDX file: two zero bytes, 8 for unsigned bytes, the number of dimensions, then
# each dimension as four bytes, highest first (http://yann.lecun.com/exdb/mnist/).
_IDX_UNSIGNED_BYTES = b"\0\0\x08"


def load_mnist(config: DataConfig) -> ImageData:
    """MNIST, uint8 (N, 1, 28, 28): 60000 images to train on, 10000 to test. LeCun et al. 1998.

    Raises:
        DataError: It is neither on disk nor downloadable, or a file is truncated or foreign.
    """
    raw = config.folder / "MNIST" / "raw"
    ensure("mnist", "MNIST", [raw / name for name in MNIST_FILES], config)
    for name in MNIST_FILES:
        _check_idx(raw / name, dimensions=3 if "images" in name else 1)
    train, test = (
        Part(read.data.unsqueeze(1), read.targets)
        for read in (datasets.MNIST(config.folder, train=train) for train in (True, False))
    )
    classes = tuple(str(digit) for digit in range(10))
    return assemble("mnist", train, test, classes, str(raw), config.image_size)


def load_cifar10(config: DataConfig) -> ImageData:
    """CIFAR-10, uint8 (N, 3, 32, 32): 50000 images to train on, 10000 to test. Krizhevsky 2009.

    Raises:
        DataError: It is neither on disk nor downloadable, or a file is truncated or foreign.
    """
    cifar = datasets.CIFAR10
    folder = config.folder / cifar.base_folder
    names = [name for name, _ in (*cifar.train_list, *cifar.test_list)]
    files = [folder / name for name in (*names, cifar.meta["filename"])]
    ensure("cifar10", "CIFAR10", files, config)
    try:
        # torchvision checks every file's MD5 sum before it unpickles any.
        train, test = (cifar(config.folder, train=train) for train in (True, False))
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, pickle.PickleError) as error:
        raise DataError(
            f"data set 'cifar10' in {folder} is truncated or foreign ({type(error).__name__}): "
            "delete that folder to download it anew, or point data.root= at a whole copy"
        ) from error
    train_part, test_part = (
        Part(
            torch.from_numpy(read.data).permute(0, 3, 1, 2).contiguous(), torch.tensor(read.targets)
        )
        for read in (train, test)
    )
    return assemble(
        "cifar10", train_part, test_part, tuple(train.classes), str(folder), config.image_size
    )


def _check_idx(path: Path, dimensions: int) -> None:
    """Refuse what torchvision would read in part or stumble over: it checks no size.

    Raises:
        DataError: The file is no IDX file of bytes, or not as long as its header says.
    """
    remedy = "delete that file to download it anew, or point data.root= at a whole copy"
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
