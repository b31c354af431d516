"""Short numbers: the ones that people write in a program."""

import math
from collections.abc import Iterator

import torch

_MOST_DIGITS = 5


def shortest(value: float, dtype: torch.dtype) -> float:
    """The number with the fewest digits that a type stores as this value."""
    for digits in range(1, 18):
        rounded = float(f"{value:.{digits}g}")
        if float(torch.tensor(rounded, dtype=dtype)) == value:
            return rounded
    return value


def shortest_within(low: float, high: float) -> tuple[float, int]:
    """The number with the fewest digits in an interval of positive numbers, and how many digits it has.

    Of several, the nearest to the middle; but a power of ten before other numbers of one digit. An interval
    without a number of at most `_MOST_DIGITS` digits gives its middle.
    """
    low = max(low, 1e-300)
    middle = math.sqrt(low) * math.sqrt(high)
    power = math.floor(math.log10(middle))
    for digits in range(1, _MOST_DIGITS + 1):
        step = 10.0 ** (power - digits + 1)
        near = math.floor(middle / step)
        inside = [
            number
            for count in range(near - 1, near + 3)
            if low <= (number := float(f"{count * step:.{digits}g}")) <= high
        ]
        tens = [float(f"1e{power + more}") for more in (0, 1)] if digits == 1 else []
        inside = [ten for ten in tens if low <= ten <= high] or inside
        if inside:
            return min(inside, key=lambda number: abs(number - middle)), digits
    return middle, _MOST_DIGITS + 1


def shortest_between(low: float, high: float) -> tuple[float, int]:
    """`shortest_within` for intervals of any sign."""
    if low <= 0 <= high:
        return 0.0, 0
    if high < 0:
        number, digits = shortest_within(-high, -low)
        return -number, digits
    return shortest_within(low, high)


def numbers_within(low: float, high: float) -> Iterator[tuple[float, int]]:
    """The shortest number in an interval, and a power of the root of two, which count as two digits, if there
    is one.

    Widths are often powers of two, and so are the numbers that come from them.
    """
    yield shortest_within(low, high)
    power = 2.0 ** (round(2 * math.log2(math.sqrt(low) * math.sqrt(high))) / 2)
    if low <= power <= high:
        yield power, 2
