"""`Examples`: a data set in memory that is no set of images: inputs, targets, and how they are split."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from initsearch.errors import ConfigError
from initsearch.settings import Settings
from initsearch.tasks.data.split import Split, draw_stratified, usual_validation
from initsearch.tasks.streams import derive_seed

#: What a target is: the class of an example, a class at each of its positions, or numbers.
TargetKind = Literal["class", "tokens", "numbers"]
Count = Annotated[int, Field(ge=1)]


class ExampleSettings(Settings):
    """The config group `data` of a task whose examples are held in memory.

    Attributes:
        name: The data set.
        train_size: Examples to train on, drawn per seed; None: all that validation leaves.
        val_size: Examples to validate on; None: a sixth of those that are not test examples, at most 10000.
    """

    name: str
    train_size: Count | None = None
    val_size: Count | None = None

    def key(self) -> dict[str, Any]:
        """Plain data that say which examples these are."""
        return self.model_dump()

    @abstractmethod
    def load(self) -> "Examples":
        """The data set, in memory.

        Raises:
            ConfigError: A setting does not fit the data.
            DataError: The data are missing or damaged.
        """


@dataclass(frozen=True, eq=False)
class Examples:
    """Inputs with their targets; the test set is apart and the same for every seed.

    Attributes:
        name: What records call the data.
        contents: Identifies them: other data of the same name have another text here.
        x: Inputs, (N, ...): float32, or int64 tokens. Validation examples are drawn from these too.
        y: Targets: int64 (N,) classes, int64 (N, ...) tokens, or float32 (N, outputs).
        test_x: As `x`, the test set.
        test_y: As `y`.
        kind: What a target is.
        outputs: Numbers that a model returns for an example, or for a position of it.
        main: The score that matters most (`accuracy`, `rmse`, ...), without `val_` or `test_`.
        standardize: Whether inputs are brought to mean 0 and standard deviation 1, column by column, by the
            training part of each seed. Targets that are numbers always are.
        classes: The classes' names; empty for numbers.
    """

    name: str
    contents: str
    x: Tensor
    y: Tensor
    test_x: Tensor
    test_y: Tensor
    kind: TargetKind
    outputs: int
    main: str
    standardize: bool = False
    classes: tuple[str, ...] = ()

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one input."""
        return tuple(self.x.shape[1:])


def held_out(
    x: Tensor, y: Tensor, kind: TargetKind, name: str, classes: tuple[str, ...] = ()
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """`x, y, test_x, test_y`: a sixth of the examples as the test set, the same for every seed.

    Args:
        x: Inputs (N, ...).
        y: Targets (N, ...).
        kind: What a target is; classes are held out in proportion.
        name: The data set, for errors.
        classes: The classes' names.
    """
    size = max(len(y) // 6, len(classes) if kind == "class" else 1)
    if kind == "class":
        kept, test = draw_stratified(name, y, classes, 0, (len(y) - size, size))
    else:
        order = torch.randperm(len(y), generator=_generator("test set", 0))
        kept, test = order[size:].sort().values, order[:size].sort().values
    return x[kept], y[kept], x[test], y[test]


def example_counts(data: Examples, settings: ExampleSettings) -> tuple[int, int]:
    """How many examples a seed trains on and validates on.

    Raises:
        ConfigError: More are asked for than there are.
    """
    pool = len(data.y)
    fewest = len(data.classes) if data.kind == "class" else 1
    usual = usual_validation(pool, fewest)
    val = usual if settings.val_size is None else settings.val_size
    train = pool - val if settings.train_size is None else settings.train_size
    if val < fewest or train < fewest or train + val > pool:
        raise ConfigError(
            f"data.train_size and data.val_size must be at least {fewest} each and at most {pool} together, "
            f"the examples of {data.name} that are not test examples, but got {train} and {val}: lower them"
        )
    return train, val


def split_examples(data: Examples, settings: ExampleSettings, seed: int) -> Split:
    """Draw disjoint training and validation examples from the seed alone; classes in proportion.

    Raises:
        ConfigError: More are asked for than there are.
        DataError: A class has a single example, which cannot be on both sides.
    """
    train, val = example_counts(data, settings)
    if data.kind == "class":
        return Split(*draw_stratified(data.name, data.y, data.classes, seed, (train, val)))
    order = torch.randperm(len(data.y), generator=_generator("split", seed))
    return Split(order[:train].sort().values, order[train : train + val].sort().values)


def _generator(purpose: str, seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(derive_seed(purpose, seed))
