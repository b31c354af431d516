"""What to load and from where: the settings of the config group `data`."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from initsearch.checks import check_choice, check_int, check_keys
from initsearch.errors import ConfigError

NAMES = ("digits", "mnist", "cifar10", "image_folder")
SCALINGS = ("standard", "unit")
STAND_INS = ("digits", "mnist", "cifar10")  # an image folder has no root of its own to fall back on


def cache_folder() -> Path:
    """The user's cache folder: `$XDG_CACHE_HOME/initsearch` or `~/.cache/initsearch`."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home).expanduser() if home else Path.home() / ".cache") / "initsearch"


def default_root() -> Path:
    """Where data sets are looked for and downloaded to: `$INITSEARCH_DATA`, or the cache folder."""
    named = os.environ.get("INITSEARCH_DATA")
    return Path(named).expanduser() if named else cache_folder()


@dataclass(frozen=True)
class DataConfig:
    """Which images to train on. All fields are plain values that JSON can hold.

    Attributes:
        name: `digits`, `mnist`, `cifar10` or `image_folder`.
        root: The folder in which the data set is looked for (torchvision's layout: `MNIST/raw`,
            `cifar-10-batches-py`), and to which it is downloaded; for `image_folder` the folder of
            images itself. None: `$INITSEARCH_DATA`, else the user's cache folder.
        train_size: Images to train on, in a stratified draw; None: all that validation leaves.
        val_size: Images to validate on; None: a sixth of the training images, at most 10000.
        fallback: A data set to load instead when `name` is neither on disk nor downloadable.
        scaling: `standard`: each channel of the training images to mean 0 and standard deviation 1;
            `unit`: pixels to [0, 1], as many tutorials feed them.
        image_size: Side in pixels to resize to (shorter side resized, centre cropped); None: as is.
        download: Whether a missing data set may be downloaded.
        timeout: Seconds in which a download must receive something.
        deadline: Seconds that a download may take in all.

    Raises:
        ConfigError: An unknown name, or a size or time that is not above zero.
    """

    name: str = "mnist"
    root: str | None = None
    train_size: int | None = None
    val_size: int | None = None
    fallback: str | None = None
    scaling: str = "standard"
    image_size: int | None = None
    download: bool = True
    timeout: float = 20.0
    deadline: float = 600.0

    def __post_init__(self) -> None:
        check_choice("data set", self.name, NAMES)
        check_choice("data.scaling", self.scaling, SCALINGS)
        if self.fallback is not None:
            check_choice("data.fallback", self.fallback, STAND_INS)
        if self.root is not None and not isinstance(self.root, str):
            raise ConfigError(f"data.root must be a path or null, but got {self.root!r}")
        for field in ("train_size", "val_size", "image_size"):
            if getattr(self, field) is not None:
                check_int(f"data.{field}", getattr(self, field))
        if not isinstance(self.download, bool):
            raise ConfigError(f"data.download must be true or false, but got {self.download!r}")
        for field in ("timeout", "deadline"):
            seconds = getattr(self, field)
            if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds > 0:
                raise ConfigError(f"data.{field} must be seconds above 0, but got {seconds!r}")

    @classmethod
    def from_mapping(cls, settings: Mapping[str, Any]) -> "DataConfig":
        """The config with these fields.

        Raises:
            ConfigError: A field that does not exist, or a value that breaks a rule.
        """
        check_keys("data setting", settings, [field.name for field in fields(cls)])
        return cls(**settings)

    @property
    def folder(self) -> Path:
        """`root` as a path, with the default filled in."""
        return Path(self.root).expanduser() if self.root is not None else default_root()
