"""`Distribution`: the canonical form of what an initializer draws, whatever its name and dialect."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from initsearch.initializers import draws

#: Digits to which two numbers of equal distributions agree. Two formulas for one number (sqrt(2) squared and 2)
#: differ in the sixteenth, and distributions that are meant to differ do so in the first ones.
DIGITS = 10


@dataclass(frozen=True)
class Distribution:
    """Entries drawn independently of each other, by one of the functions of `draws`.

    Two initializers of equal `key` fill a tensor with the same values from one generator, up to rounding.

    Attributes:
        kind: `constant`, `normal`, `uniform` or `truncated_normal`.
        numbers: Its value; its mean and standard deviation; its ends; or mean and standard deviation before the
            truncation and its bounds, in standard deviations from the mean.
    """

    kind: str
    numbers: tuple[float, ...]

    @classmethod
    def constant(cls, value: float) -> Self:
        """Every entry is `value`."""
        return cls("constant", (value,))

    @classmethod
    def normal(cls, mean: float, std: float) -> Self:
        """N(mean, std^2); a constant if `std` is 0."""
        return cls("normal", (mean, std)) if std else cls.constant(mean)

    @classmethod
    def uniform(cls, low: float, high: float) -> Self:
        """U(low, high); a constant if they are equal."""
        return cls("uniform", (low, high)) if low < high else cls.constant(low)

    @classmethod
    def truncated_normal(cls, mean: float, std: float, low: float, high: float) -> Self:
        """N(mean, std^2) within [mean + low * std, mean + high * std]; a constant if `std` is 0."""
        return cls("truncated_normal", (mean, std, low, high)) if std else cls.constant(mean)

    def draw_(self, out: Tensor, generator: torch.Generator | None) -> None:
        """Fill `out` in place; see `Initializer._draw_` for what it must be."""
        if self.kind == "constant":
            out.fill_(self.numbers[0])
        elif self.kind == "normal":
            mean, std = self.numbers
            draws.normal_(out, mean, std, generator)
        elif self.kind == "uniform":
            low, high = self.numbers
            draws.uniform_(out, low, high, generator)
        else:
            mean, std, low, high = self.numbers
            draws.truncated_normal_(out, mean, std, low, high, generator)

    def scaled(self, factor: float) -> "Distribution":
        """The distribution of entries multiplied by a positive factor."""
        if self.kind == "truncated_normal":  # its bounds are in standard deviations
            mean, std, low, high = self.numbers
            return Distribution(self.kind, (mean * factor, std * factor, low, high))
        return Distribution(self.kind, tuple(number * factor for number in self.numbers))

    @property
    def key(self) -> str:
        """The same text for equal distributions, numbers rounded to `DIGITS`."""
        # Adding 0.0 makes -0.0 positive.
        return " ".join([self.kind, *(f"{number + 0.0:.{DIGITS}g}" for number in self.numbers)])
