"""Any folder of images by class."""

from initsearch.errors import DataError

from ._config import DataConfig
from ._images import ImageData


def load(config: DataConfig) -> ImageData:
    """The images of a folder."""
    raise DataError("image_folder cannot be read yet")
