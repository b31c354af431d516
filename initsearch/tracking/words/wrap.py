"""Long names in narrow columns: broken where a reader would, not in the middle of a word."""

from collections.abc import Iterator

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions
from rich.measure import Measurement
from rich.text import Text

#: Where a text is broken: behind one of these characters, the first kind that occurs in reach.
_SEPARATORS = (" ", ",;", "(+/", "=:", "_-.")
_LEAST_WIDTH = 12  # columns that a wrapped text asks for at least


class Wrapped:
    """A text for rich that is broken between words; within a long name, behind a comma, a bracket, a `_`.

    Args:
        text: One or more lines, with any styles.
    """

    def __init__(self, text: Text) -> None:
        self._text = text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        for line in self._text.split("\n", allow_blank=True):
            for part in line.divide(_breaks(line.plain, options.max_width)):
                part.rstrip()
                yield part

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        widest = max(cell_len(line) for line in self._text.plain.split("\n"))
        return Measurement(min(widest, _LEAST_WIDTH), widest).with_maximum(options.max_width)


def _breaks(line: str, width: int) -> list[int]:
    """Where a line is broken, by the number of characters before each break."""
    breaks = []
    start = 0
    while cell_len(line[start:]) > width:
        start += _first_break(line[start:], width)
        breaks.append(start)
    return breaks


def _first_break(line: str, width: int) -> int:
    """How many characters of a line that is too long stand before its first break."""
    room = max(1, sum(cell_len(line[: end + 1]) <= width for end in range(min(len(line), width))))
    for separators in _SEPARATORS:
        # A line of less than half the width would waste more than a better separator is worth.
        for place in range(room, room // 2, -1):
            # A number and its percent sign stay together.
            if line[place - 1] in separators and not line[place:].startswith(("%", " %")):
                return place + (line[place] == " ")  # a space behind a comma ends the line, too
    return room
