"""Load the data set that a config names, or the fallback that the config allows."""

from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from typing import Any

import torch

from initsearch.tasks.data.config import NAMES, DataConfig
from initsearch.tasks.data.download import MissingDataError
from initsearch.tasks.data.images import ImageData
from initsearch.tasks.data.split import split_sizes

#: Where each data set is read: loaded when it is asked for, since torchvision and scikit-learn take seconds.
_LOADERS = {
    "digits": ("digits", "load"),
    "mnist": ("torchvision_sets", "load_mnist"),
    "cifar10": ("torchvision_sets", "load_cifar10"),
    "image_folder": ("folder", "load"),
}


def list_data() -> list[str]:
    """The names that `DataConfig.name` can have."""
    return sorted(NAMES)


def load_data(config: DataConfig | Mapping[str, Any]) -> ImageData:
    """The images that a config names, in memory.

    A data set that is neither on disk nor downloadable is replaced by `config.fallback` where the
    config has one: then `name` of the result is the fallback's, `requested` what was asked for, and
    `reason` says why. A copy that is there but damaged is an error all the same.

    Raises:
        ConfigError: A setting breaks a rule, or asks for more images than there are.
        DataError: The data set is missing, truncated or foreign.
    """
    if isinstance(config, Mapping):
        config = DataConfig.from_mapping(config)
    try:
        module, function = _LOADERS[config.name]
        images: ImageData = getattr(import_module(f".{module}", __package__), function)(config)
        if config.scaling == "unit":
            images = replace(
                images, mean=torch.zeros_like(images.mean), std=torch.ones_like(images.std)
            )
    except MissingDataError as error:
        if config.fallback is None:
            raise
        # Only the place and the name carry over: sizes were meant for the data set asked for.
        stand_in = DataConfig(
            name=config.fallback,
            root=config.root,
            scaling=config.scaling,
            image_size=config.image_size,
            download=config.download,
            timeout=config.timeout,
            deadline=config.deadline,
        )
        images = replace(load_data(stand_in), requested=config.name, reason=str(error))
    split_sizes(images, config.train_size, config.val_size)  # a wrong size is known before training
    return images
