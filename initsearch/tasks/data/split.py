"""Stratified draws: a block's training and validation images, and a fixed test set."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from initsearch.errors import ConfigError, DataError
from initsearch.tasks.data.images import ImageData

MOST_VALIDATION = 10_000  # images: the standard error of an accuracy near 98 % is then 0.14 points


@dataclass(frozen=True, eq=False)
class Split:
    """Which of the training images a block trains on and which it validates on.

    Attributes:
        train: int64 (train_size,), ascending indices into `ImageData.train_x`.
        val: int64 (val_size,), ascending, none of them in `train`.
    """

    train: Tensor
    val: Tensor


def usual_validation(pool: int, fewest: int) -> int:
    """Validation examples if no number is asked for: a sixth of the pool, at least `fewest`."""
    return min(max(pool // 6, fewest), MOST_VALIDATION)


def split_sizes(
    data: ImageData, train_size: int | None = None, val_size: int | None = None
) -> tuple[int, int]:
    """How many images `split` will train on and validate on.

    Args:
        data: The data set.
        train_size: Images to train on; None: all that validation leaves.
        val_size: Images to validate on; None: a sixth of the training images, at most 10000.

    If both together exceed what there is, as when a sweep made for MNIST is run on digits, validation is
    lowered to its usual share, and training to what that leaves.

    Raises:
        ConfigError: Fewer images are asked for than there are classes, or the data set is too small.
    """
    pool, fewest = len(data.train_y), data.num_classes
    usual = usual_validation(pool, fewest)
    val = usual if val_size is None else val_size
    if val + (fewest if train_size is None else train_size) > pool:
        val = min(val, usual)
    left = pool - val
    train = left if train_size is None else min(train_size, left)
    available = f"{data.name} has {pool} training images"
    if val < fewest or val > pool - fewest:
        raise ConfigError(
            f"data.val_size must be between {fewest} (one image per class) and {pool - fewest}, "
            f"but got {val}: {available}"
        )
    if train < fewest or train > left:
        raise ConfigError(
            f"data.train_size must be between {fewest} (one image per class) and {left}, "
            f"but got {train}: {available}, less {val} for validation (data.val_size)"
        )
    return train, val


def split(
    data: ImageData, seed: int, train_size: int | None = None, val_size: int | None = None
) -> Split:
    """Draw disjoint training and validation images, stratified by class, from the seed alone.

    Args:
        data: The data set; only its training images are drawn from.
        seed: The block's seed, an integer >= 0.
        train_size: Images to train on; None: all that validation leaves.
        val_size: Images to validate on; None: a sixth of the training images, at most 10000.

    Raises:
        ConfigError: A negative seed, or sizes that the data set cannot give (see `split_sizes`).
        DataError: A class has a single image, which cannot be on both sides.
    """
    sizes = split_sizes(data, train_size, val_size)
    if seed < 0:
        raise ConfigError(f"seed must be an integer >= 0, but got {seed}: give seed=0 or more")
    return Split(*draw_stratified(data.name, data.train_y.cpu(), data.classes, seed, sizes))


def hold_out(data_name: str, y: Tensor, classes: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    """Training and test indices for a data set that has no test set of its own.

    The test set is a stratified sixth of the images, the same for every seed.
    """
    size = max(len(y) // 6, len(classes))
    return draw_stratified(data_name, y, classes, 0, (len(y) - size, size))


def draw_stratified(
    name: str, y: Tensor, classes: tuple[str, ...], seed: int, sizes: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Two disjoint stratified sets of indices into `y`, of these sizes, each ascending."""
    counts = torch.bincount(y, minlength=len(classes)).tolist()
    for label, count in zip(classes, counts, strict=True):
        if count < 2:
            raise DataError(
                f"class {label!r} of data set {name!r} must have at least 2 examples to split, but "
                f"has {count}: add examples, or remove the class"
            )
    # Imported here: a coordinator reads a data set without splitting it.
    from sklearn.model_selection import StratifiedShuffleSplit

    # SeedSequence takes seeds of any size; scikit-learn itself takes 32 bits only.
    state = np.random.RandomState(np.random.MT19937(np.random.SeedSequence(seed)))
    first, second = sizes
    splitter = StratifiedShuffleSplit(1, train_size=first, test_size=second, random_state=state)
    left, right = next(splitter.split(np.zeros(len(y)), y.numpy()))
    return torch.from_numpy(np.sort(left)), torch.from_numpy(np.sort(right))
