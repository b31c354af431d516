"""`DataSettings`: the config group `data`, which says what images to load and from where."""

import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from initsearch.settings import Settings, one_of

NAMES = ("digits", "mnist", "cifar10", "image_folder")
SCALINGS = ("standard", "unit")
STAND_INS = ("digits", "mnist", "cifar10")  # a folder of images cannot replace another data set
#: Settings about how the images are obtained, not which they are.
FETCHING = ("download", "timeout", "deadline", "fallback")

Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0)]


def cache_folder() -> Path:
    """The user's cache folder: `$XDG_CACHE_HOME/initsearch` or `~/.cache/initsearch`."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home).expanduser() if home else Path.home() / ".cache") / "initsearch"


def default_root() -> Path:
    """Where data sets are looked for and downloaded to: `$INITSEARCH_DATA`, or the cache folder."""
    named = os.environ.get("INITSEARCH_DATA")
    return Path(named).expanduser() if named else cache_folder()


class DataSettings(Settings):
    """Which images to train on.

    Attributes:
        name: `digits`, `mnist`, `cifar10` or `image_folder`.
        root: The folder in which the data set is looked for (torchvision's layout: `MNIST/raw`,
            `cifar-10-batches-py`), and to which it is downloaded; for `image_folder` the folder of
            images itself. None: `$INITSEARCH_DATA`, else the user's cache folder.
        train_size: Images to train on, in a stratified draw; None: all that validation leaves.
        val_size: Images to validate on; None: a sixth of the training images, at most 10000.
        fallback: A data set to load instead when `name` is neither on disk nor downloadable.
        scaling: `standard`: each channel of the training images to mean 0 and standard deviation 1;
            `unit`: pixels to [0, 1], as many tutorials have them.
        image_size: Side in pixels to resize to (shorter side resized, centre cropped); None: as is.
        download: Whether a missing data set may be downloaded.
        timeout: Seconds in which a download must receive something.
        deadline: Seconds that a whole download may take.
    """

    name: Annotated[str, one_of("data set", NAMES)] = "mnist"
    root: str | None = None
    train_size: Count | None = None
    val_size: Count | None = None
    fallback: Annotated[str, one_of("data.fallback", STAND_INS)] | None = None
    scaling: Annotated[str, one_of("data.scaling", SCALINGS)] = "standard"
    image_size: Count | None = None
    download: bool = True
    timeout: Seconds = 20.0
    deadline: Seconds = 600.0

    @property
    def folder(self) -> Path:
        """`root` as a path, with the default filled in."""
        return Path(self.root).expanduser() if self.root is not None else default_root()

    def key(self) -> dict[str, Any]:
        """Plain data that say which images these are; where they lie matters only for a folder of images."""
        values = self.model_dump(exclude=set(FETCHING))
        if self.name != "image_folder":
            del values["root"]
        return values
