"""A small MNIST on disk, in torchvision's layout."""

from pathlib import Path

import numpy as np
from torchvision import datasets

NAMES = [name.removesuffix(".gz") for name, _ in datasets.MNIST.resources]


def as_idx(values: np.ndarray) -> bytes:
    """The IDX format of the MNIST page: 0, 0, type 8, dimensions, sizes, bytes."""
    sizes = b"".join(size.to_bytes(4, "big") for size in values.shape)
    return bytes([0, 0, 8, values.ndim]) + sizes + values.astype(np.uint8).tobytes()


def small_mnist(n_train: int = 60, n_test: int = 20) -> dict[str, np.ndarray]:
    """The arrays of the four files: random images, each class as often as every other."""
    rng = np.random.default_rng(0)
    arrays = {}
    for part, n in (("train", n_train), ("t10k", n_test)):
        arrays[f"{part}-images-idx3-ubyte"] = rng.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        arrays[f"{part}-labels-idx1-ubyte"] = (np.arange(n) % 10).astype(np.uint8)
    return arrays


def write_mnist(root: Path) -> dict[str, np.ndarray]:
    """Write `small_mnist` under `root/MNIST/raw`, and return it."""
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    arrays = small_mnist()
    for name, values in arrays.items():
        (raw / name).write_bytes(as_idx(values))
    return arrays
