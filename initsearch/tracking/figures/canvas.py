"""What all figures share: colours for colour-blind readers too, headers, labels that do not overlap.

Figures are made by matplotlib's object interface alone: pyplot's global state and backends, which
belong to the user's own program, are left as they are. Names are drawn as they are written: `$` begins no
formula, and control characters are written out.
"""

import math
from collections.abc import Sequence
from functools import cache
from textwrap import wrap
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties

from initsearch.errors import visible

INK = "#1f1f1f"
QUIET = "#6b6b6b"
FAINT = "#e3e3e3"
# Okabe and Ito's palette (2008, "Color Universal Design"), without its yellow, too pale for lines
# on white.
BLUE, VERMILION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY, BLACK = "#E69F00", "#56B4E9", "#000000"
CYCLE = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK)
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.2)))

#: For every text with a name in it: `$` is a dollar sign.
PLAIN: dict[str, Any] = {"parse_math": False}

_DPI = 150
_HEADER_POINTS = (15.0, 10.5)
_TITLE_LINES = 2  # the second one where data stand in for others, or names are long
_TITLE_INCHES = 0.29
_LINE_INCHES = 0.2
_SUBTITLE_LINES = 8  # a verdict's sentence takes six; names may be of any length


def new_figure(width: float, height: float, title: str, subtitle: str = "") -> tuple[Figure, float]:
    """A white figure with its header.

    Args:
        width: Inches.
        height: Inches below the header.
        title: Wrapped to the width; at most two lines.
        subtitle: Wrapped to the width.

    Returns:
        The figure, and the height of its header in inches, which is added to `height`.
    """
    characters = int((width - 0.4) * 12.2)
    lines = wrap(visible(subtitle), characters, max_lines=_SUBTITLE_LINES, placeholder=" …")
    heading = wrap(
        visible(title), int((width - 0.4) * 7.5), max_lines=_TITLE_LINES, placeholder=" …"
    )
    below = 0.5 + _TITLE_INCHES * (len(heading) - 1)
    header = 0.05 + below + _LINE_INCHES * len(lines)
    figure = Figure(figsize=(width, height + header), dpi=_DPI, facecolor="white")
    FigureCanvasAgg(figure)
    total = height + header
    figure.text(
        0.2 / width,
        1 - 0.16 / total,
        "\n".join(heading),
        size=_HEADER_POINTS[0],
        weight="bold",
        color=INK,
        va="top",
        linespacing=1.3,
        **PLAIN,
    )
    figure.text(
        0.2 / width,
        1 - below / total,
        "\n".join(lines),
        size=_HEADER_POINTS[1],
        color=QUIET,
        va="top",
        linespacing=1.3,
        **PLAIN,
    )
    return figure, header


def add_axes(figure: Figure, left: float, top: float, right: float, bottom: float) -> Axes:
    """Axes at these distances (in inches) from the figure's edges, in the style of all figures."""
    width, height = (float(side) for side in figure.get_size_inches())
    axes = figure.add_axes(
        (
            left / width,
            bottom / height,
            (width - left - right) / width,
            (height - top - bottom) / height,
        )
    )
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(QUIET)
    axes.tick_params(colors=QUIET, labelsize=9.5, length=3)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    axes.set_axisbelow(True)
    return axes


def text_inches(text: str, size: float, weight: str = "normal") -> float:
    """The width of a text's longest line, in inches."""
    font = FontProperties(size=size, weight=weight)
    widths = [_measure(line, font) for line in text.splitlines() or [""]]
    return float(max(widths)) / _DPI


def _measure(line: str, font: FontProperties) -> float:
    width, _, _ = _renderer().get_text_width_height_descent(line, font, False)  # type: ignore[no-untyped-call]
    return float(width)


@cache
def _renderer() -> RendererAgg:
    canvas = FigureCanvasAgg(Figure(dpi=_DPI))
    return canvas.get_renderer()  # type: ignore[no-untyped-call,no-any-return]


def beside(
    axes: Axes, text: str, place: float | None, right: float, drop: float = 0.0, **style: Any
) -> None:
    """Write a text that ends beside the axes.

    Args:
        axes: Their y axis counts rows.
        text: One line, or two.
        place: The row; None is above the axes, for a heading.
        right: Where the text ends, in points: left of the axes if negative, else right of them.
        drop: How far below the middle of the row it stands, in points.
        style: Of the text: size, color, ...
    """
    axes.annotate(
        text,
        (0.0 if right < 0 else 1.0, 1.0 if place is None else place),
        xycoords=("axes fraction", "axes fraction" if place is None else "data"),
        xytext=(right, 4 if place is None else -drop),
        textcoords="offset points",
        ha="right",
        va="bottom" if place is None else "center",
        annotation_clip=False,
        **PLAIN,
        **style,
    )


def short(name: str, characters: int) -> str:
    """A name of at most so many characters; a longer one loses its middle."""
    if len(name) <= characters:
        return name
    head = (characters - 1) // 2
    return f"{name[:head]}…{name[len(name) - (characters - 1 - head) :]}"


def folded(name: str, characters: int = 40) -> str:
    """A name on one line, or two (broken after a comma, a bracket, ... where there is one)."""
    name = short(name, 2 * characters)
    if len(name) <= characters:
        return name
    first = len(name) - characters
    breaks = [place for place in range(first, characters + 1) if name[place - 1] in ", (_.-/+"]
    place = breaks[-1] if breaks else characters
    return f"{name[:place].rstrip()}\n{name[place:]}"


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Positions near the wanted ones, in their order, at least `gap` apart, from `low` to `high`.

    If they do not fit, the gaps shrink evenly. Neighbours that push each other are merged into a block,
    which lies at the average of its members' wishes (pool adjacent violators).
    """
    if not wanted:
        return []
    gap = min(gap, (high - low) / max(1, len(wanted) - 1))
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    # With k gaps subtracted from the k-th position, "at least gap apart" becomes "not falling".
    free = [wanted[index] - gap * rank for rank, index in enumerate(order)]
    blocks: list[list[float]] = []  # sum, count
    for value in free:
        blocks.append([value, 1.0])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] > blocks[-1][0] / blocks[-1][1]:
            last = blocks.pop()
            blocks[-1] = [blocks[-1][0] + last[0], blocks[-1][1] + last[1]]
    level = [total / count for total, count in blocks for _ in range(int(count))]
    top = high - gap * (len(wanted) - 1)
    placed = [0.0] * len(wanted)
    for rank, index in enumerate(order):
        placed[index] = min(max(level[rank], low), top) + gap * rank
    return placed


def on_scale(reaches: Sequence[tuple[float, float]], floor: float, least: int = 2) -> int:
    """How many rows, best first, share one scale on which the best can still be distinguished.

    A candidate far behind would squeeze the others into a line. A row is included while the scale stays
    within four times of what the rows before it need.

    Args:
        reaches: Lowest and highest value of each row; NaN for a row without any.
        floor: The least width of the scale that is worth looking at.
        least: The number of rows that are included in any case.
    """
    taken, low, high = 0, math.inf, -math.inf
    for row_low, row_high in reaches:
        if math.isnan(row_low):
            break
        wider = max(high, row_high) - min(low, row_low)
        if taken >= least and wider > 4 * max(high - low, floor):
            break
        low, high = min(low, row_low), max(high, row_high)
        taken += 1
    return taken
