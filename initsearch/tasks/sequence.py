"""The task `sequence`: images read pixel by pixel or row by row, and the adding problem."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from initsearch.settings import one_of
from initsearch.tasks.data.examples import Examples, ExampleSettings, held_out
from initsearch.tasks.data.load import load_data
from initsearch.tasks.data.settings import DataSettings
from initsearch.tasks.streams import derive_seed

NAMES = ("adding", "digits", "mnist", "cifar10")
ORDERS = ("rows", "pixels")


class SequenceSettings(ExampleSettings):
    """The config group `data` of the task `sequence`.

    Attributes:
        name: `adding`: the adding problem (Hochreiter and Schmidhuber 1997), where a step has a number in
            [0, 1] and a mark, two steps of a sequence are marked, one in each half, and the target is the sum
            of their numbers. Or a set of images, whose class is asked after the last step.
        order: How an image is read: `rows`, from top to bottom, or `pixels`, one by one.
        root: Where a set of images is looked for; see `DataSettings`.
        image_size: Side in pixels to which images are resized; None: as they are.
        length: Steps of the adding problem.
        count: Number of its sequences.
        train_size: See `ExampleSettings`.
        val_size: See `ExampleSettings`.
    """

    name: Annotated[str, one_of("data", NAMES)] = "adding"
    order: Annotated[str, one_of("data.order", ORDERS)] = "rows"
    root: str | None = None
    image_size: Annotated[int, Field(ge=2)] | None = None
    length: Annotated[int, Field(ge=4)] = 50
    count: Annotated[int, Field(ge=12)] = 6000

    def load(self) -> Examples:
        """The sequences; the test set is the images' own, or a random sixth."""
        return self._adding() if self.name == "adding" else self._images()

    def _adding(self) -> Examples:
        x, y = adding_problem(self.length, self.count)
        return Examples(
            "adding",
            f"adding-{self.length}-{self.count}",
            *held_out(x, y, "numbers", "adding"),
            kind="numbers",
            outputs=1,
            main="mse",
        )

    def _images(self) -> Examples:
        images = load_data(DataSettings(name=self.name, root=self.root, image_size=self.image_size))

        def read(pixels: Tensor) -> Tensor:
            shown = images.normalize(pixels).movedim(1, -1)  # (N, H, W, C)
            return shown.flatten(2) if self.order == "rows" else shown.flatten(1, 2)

        return Examples(
            f"{self.name}_by_{self.order}",
            images.name,
            read(images.train_x),
            images.train_y,
            read(images.test_x),
            images.test_y,
            kind="class",
            outputs=images.num_classes,
            main="accuracy",
            classes=images.classes,
        )


def adding_problem(length: int, count: int) -> tuple[Tensor, Tensor]:
    """Sequences (count, length, 2) of numbers and marks, with the sums of the marked numbers (count, 1)."""
    generator = torch.Generator().manual_seed(derive_seed("adding", length, count))
    numbers = torch.rand(count, length, generator=generator, dtype=torch.float32)
    half = length // 2
    first = torch.randint(half, (count,), generator=generator)
    second = torch.randint(half, length, (count,), generator=generator)
    marks = torch.zeros(count, length, dtype=torch.float32)
    rows = torch.arange(count)
    marks[rows, first] = marks[rows, second] = 1.0
    return torch.stack([numbers, marks], -1), (numbers * marks).sum(1, keepdim=True)
