"""`ImageData`: a data set in memory, uint8 images, labels, and the numbers that normalise them."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from initsearch.errors import DataError


class LabelledImages(NamedTuple):
    """Images with their labels: `x` uint8 (N, C, H, W), `y` int64 (N,)."""

    x: Tensor
    y: Tensor


@dataclass(frozen=True, eq=False)
class ImageData:
    """Images by class, in memory, with the official test set apart.

    Attributes:
        name: What the images are: `digits`, `mnist`, `cifar10` or `image_folder`.
        requested: What was asked for; differs from `name` when a fallback is used.
        train_x: uint8 (N, C, H, W); validation images are drawn from these by `split`.
        train_y: int64 (N,), the class of each image.
        test_x: uint8 (M, C, H, W), the official test set.
        test_y: int64 (M,).
        classes: The classes' names, in the order of their numbers.
        mean: float32 (C,), of all training images, in units where the brightest pixel is 1.
        std: float32 (C,), in the same units; 1 for a channel that is constant.
        source: Where the images were read from.
        reason: Why a fallback is used; None when it is not.
    """

    name: str
    requested: str
    train_x: Tensor
    train_y: Tensor
    test_x: Tensor
    test_y: Tensor
    classes: tuple[str, ...]
    mean: Tensor
    std: Tensor
    source: str = ""
    reason: str | None = None

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one image."""
        _, channels, height, width = self.train_x.shape
        return channels, height, width

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.classes)

    @property
    def is_fallback(self) -> bool:
        """Whether another data set stands in for the one that was asked for."""
        return self.name != self.requested

    def to(self, device: torch.device | str) -> "ImageData":
        """The same images on a device."""
        fields = ("train_x", "train_y", "test_x", "test_y", "mean", "std")
        return replace(self, **{field: getattr(self, field).to(device) for field in fields})

    def normalize(self, x: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """(x / 255 - mean) / std, for a batch of this data set, on the batch's device.

        Args:
            x: uint8 (..., C, H, W), for instance `data.train_x[index]`.
            dtype: Floating type of the result.
        """
        scale = (1 / (255 * self.std)).to(x.device, dtype).view(-1, 1, 1)
        shift = (-self.mean / self.std).to(x.device, dtype).view(-1, 1, 1)
        return torch.addcmul(shift, x.to(dtype), scale)


def assemble(
    name: str,
    train: LabelledImages,
    test: LabelledImages,
    classes: tuple[str, ...],
    source: str,
    image_size: int | None = None,
) -> ImageData:
    """An `ImageData` of these parts, resized if asked, with mean and std of the training images.

    Raises:
        DataError: A part is empty, or its labels do not match its images or the classes.
    """
    for part, title in ((train, "training"), (test, "test")):
        if len(part.x) == 0 or len(part.x) != len(part.y):
            raise DataError(
                f"data set {name!r} has {len(part.x)} {title} images and {len(part.y)} labels in "
                f"{source}: remove the damaged copy, or point data.root= at a complete one"
            )
        if not 0 <= int(part.y.min()) <= int(part.y.max()) < len(classes):
            raise DataError(
                f"data set {name!r} has {title} labels outside its {len(classes)} classes in "
                f"{source}: remove the damaged copy, or point data.root= at a complete one"
            )
    if image_size is not None:
        train, test = (
            LabelledImages(_resize(part.x, image_size), part.y) for part in (train, test)
        )
    mean, std = _channel_statistics(train.x)
    return ImageData(name, name, *train, *test, classes, mean, std, source)


def _resize(x: Tensor, size: int) -> Tensor:
    """Square images of `size` pixels: the shorter side resized, then the centre cropped."""
    if tuple(x.shape[-2:]) == (size, size):
        return x
    # Imported here: torchvision takes seconds to load, and most data sets are not resized.
    from torchvision.transforms.v2 import functional as transforms

    resized: Tensor = transforms.center_crop(transforms.resize(x, [size], antialias=True), [size])
    return resized


def _channel_statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation per channel of uint8 images, the brightest pixel being 1."""
    # A byte has 256 values: their histogram gives the moments exactly, without a float copy of the images.
    values = torch.arange(256, dtype=torch.float64) / 255
    means, stds = [], []
    for channel in x.unbind(1):
        share = torch.bincount(channel.flatten(), minlength=256).double() / channel.numel()
        mean = (share * values).sum()
        means.append(mean)
        stds.append((share * (values - mean).square()).sum().sqrt())
    std = torch.stack(stds)
    std[std == 0] = 1.0  # a constant channel normalises to zeros, not to NaN
    return torch.stack(means).float(), std.float()
