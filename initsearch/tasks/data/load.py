"""Load the data set that the settings name, or the fallback that they allow."""

from dataclasses import replace
from importlib import import_module

import torch

from initsearch.tasks.data.download import MissingDataError
from initsearch.tasks.data.images import ImageData
from initsearch.tasks.data.settings import NAMES, DataSettings
from initsearch.tasks.data.split import split_sizes

#: The function that reads each data set, imported on use: torchvision and scikit-learn take seconds.
_LOADERS = {
    "digits": ("digits", "load"),
    "mnist": ("torchvision_sets", "load_mnist"),
    "cifar10": ("torchvision_sets", "load_cifar10"),
    "image_folder": ("folder", "load"),
}


def list_data() -> list[str]:
    """The names that `DataSettings.name` may have."""
    return sorted(NAMES)


def load_data(settings: DataSettings) -> ImageData:
    """The images that the settings name, in memory.

    A data set that is neither on disk nor downloadable is replaced by `settings.fallback` if there is one:
    then `name` of the result is the fallback's, `requested` what was asked for, and `reason` says why. A copy
    on disk that is damaged is an error in any case.

    Raises:
        ConfigError: More images are asked for than there are.
        DataError: The data set is missing, truncated or foreign.
    """
    try:
        module, function = _LOADERS[settings.name]
        images: ImageData = getattr(import_module(f"{__package__}.{module}"), function)(settings)
        if settings.scaling == "unit":
            images = replace(
                images, mean=torch.zeros_like(images.mean), std=torch.ones_like(images.std)
            )
    except MissingDataError as error:
        if settings.fallback is None:
            raise
        # The sizes were meant for the data set that was asked for.
        other = {"name": settings.fallback, "fallback": None, "train_size": None, "val_size": None}
        stand_in = settings.model_copy(update=other)
        images = replace(load_data(stand_in), requested=settings.name, reason=str(error))
    split_sizes(images, settings.train_size, settings.val_size)  # raises where they do not fit
    return images
