"""The task `function`: numbers as a function of coordinates, a sine or the pixels of an image."""

import math
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from initsearch.digests import hex_digest
from initsearch.errors import ConfigError, DataError
from initsearch.settings import one_of
from initsearch.tasks.data.examples import Examples, ExampleSettings, held_out
from initsearch.tasks.streams import derive_seed

NAMES = ("sine", "photo")


class FunctionSettings(ExampleSettings):
    """The config group `data` of the task `function`.

    Attributes:
        name: `sine`: y = sin(frequency x) for x uniform in [-pi, pi]. `photo`: the brightness of a pixel by its
            coordinates in [-1, 1], of scikit-learn's picture `china.jpg` or of a file of one's own.
        path: An image file for `photo`; None: scikit-learn's.
        side: Pixels of the longer side of a photo, to which it is resized.
        points: Number of points of a sine.
        frequency: Of a sine.
        train_size: See `ExampleSettings`.
        val_size: See `ExampleSettings`.
    """

    name: Annotated[str, one_of("data", NAMES)] = "sine"
    path: str | None = None
    side: Annotated[int, Field(ge=8)] = 64
    points: Annotated[int, Field(ge=12)] = 1200
    frequency: Annotated[float, Field(gt=0)] = 1.0

    def load(self) -> Examples:
        """The points with their values; a random sixth is the test set."""
        x, y = self._sine() if self.name == "sine" else self._photo()
        name = self.name if self.path is None else f"{self.name}:{Path(self.path).stem}"
        main = "psnr" if self.name == "photo" else "mse"
        return Examples(
            name,
            hex_digest(f"{name} {x.shape} {float(y.double().sum())}", 8),
            *held_out(x, y, "numbers", name),
            kind="numbers",
            outputs=1,
            main=main,
        )

    def _sine(self) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(derive_seed("sine"))
        x = (torch.rand(self.points, 1, generator=generator, dtype=torch.float64) * 2 - 1) * math.pi
        return x.float(), torch.sin(self.frequency * x).float()

    def _photo(self) -> tuple[Tensor, Tensor]:
        # Imported here: a sine needs neither.
        from PIL import Image, UnidentifiedImageError

        if self.path is None:
            from sklearn.datasets import load_sample_image

            image = Image.fromarray(load_sample_image("china.jpg"))
        else:
            try:
                image = Image.open(Path(self.path).expanduser())
                image.load()
            except (OSError, UnidentifiedImageError) as error:
                raise DataError(
                    f"data.path must be an image file, but {self.path!r} cannot be read ({error}): correct "
                    "the path"
                ) from error
        image = image.convert("L")
        image.thumbnail((self.side, self.side), Image.Resampling.BOX)
        values = torch.from_numpy(np.asarray(image, dtype=np.float32) / 255)
        if float(values.min()) == float(values.max()):
            raise ConfigError(
                f"data.path must be an image of more than one brightness, but {self.path!r} has one: give "
                "another file"
            )
        axis = partial(torch.linspace, -1.0, 1.0)
        rows, columns = torch.meshgrid(*map(axis, values.shape), indexing="ij")
        return torch.stack([rows, columns], -1).flatten(0, 1), values.reshape(-1, 1)
