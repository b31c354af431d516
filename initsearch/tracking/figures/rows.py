"""A row per candidate: points of its seeds, mean, interval. `race` and `gaps` are made of these."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.markers import CARETLEFT, CARETRIGHT

from initsearch.tracking.figures.canvas import (
    FAINT,
    INK,
    PLAIN,
    QUIET,
    add_axes,
    beside,
    folded,
    new_figure,
    on_scale,
    text_inches,
)

_ROW_INCHES = 0.46
_TALL_ROW_INCHES = 0.56  # where names take two lines
_LABEL_POINTS = 11.0
_CELL_POINTS = 10.0


@dataclass(frozen=True)
class Row:
    """One row of the picture, all values as they are shown.

    Attributes:
        name: At the left.
        color: Of everything in the row.
        marker: Of the mean.
        bold: Whether the name is set in bold.
        points: Value of each seed; NaN for those that diverged.
        mean: NaN if there is none.
        low: Lower end of the mean's interval.
        high: Upper end.
        cells: At the right, a text per column.
        note: A short remark under the name.
    """

    name: str
    color: str
    marker: str
    bold: bool
    points: Sequence[float]
    mean: float
    low: float
    high: float
    cells: Sequence[str]
    note: str = ""


@dataclass(frozen=True)
class Frame:
    """What is around the rows.

    Attributes:
        title: Of the figure.
        subtitle: Below the title.
        axis: Label of the axis.
        columns: Headings of the cells.
        band: Shaded range: from, to.
        band_label: Written at the band.
        worse_is_left: Whether values that are off the scale are to the left of it.
        floor: The least width of the scale that is worth looking at.
        line: Where a vertical line stands; None: no line.
        caption: Lines below the axis.
    """

    title: str
    subtitle: str
    axis: str
    columns: Sequence[str]
    band: tuple[float, float]
    band_label: str
    worse_is_left: bool
    floor: float
    line: float | None = None
    caption: Sequence[str] = field(default_factory=tuple)


def rows_figure(rows: Sequence[Row], frame: Frame, width: float = 11.0) -> Figure:
    """Draw the rows, the first on top.

    Rows far behind are off the scale: an arrow at the edge stands for them, their numbers are at the right. So
    do intervals that are much wider than what they are about.
    """
    bottom = 0.72 + 0.19 * max(0, len(frame.caption) - 1)
    top_gap = 0.32
    labels = [folded(row.name) for row in rows]
    row_height = _TALL_ROW_INCHES if any("\n" in label for label in labels) else _ROW_INCHES
    figure, header = new_figure(
        width, top_gap + row_height * len(rows) + bottom, frame.title, frame.subtitle
    )
    left = 0.35 + max(text_inches(label, _size(label), "bold") for label in labels)
    left = max(left, 0.35 + max(text_inches(row.note, 8.5) for row in rows))
    columns = [
        [heading, *(row.cells[i] for row in rows)] for i, heading in enumerate(frame.columns)
    ]
    widths = [0.25 + max(text_inches(cell, _CELL_POINTS) for cell in column) for column in columns]
    axes = add_axes(figure, left, header + top_gap, sum(widths) + 0.3, bottom)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks([])
    low, high, shown = _limits(rows, frame)
    axes.set_xlim(low, high)
    _draw_band(axes, frame)
    axes.grid(axis="x", color=FAINT, linewidth=0.8)
    for place, (row, label) in enumerate(zip(rows, labels, strict=True)):
        _draw_row(axes, place, row, frame, inside=place < shown)
        _draw_label(axes, place, row, label)
    _draw_cells(axes, columns, widths)
    axes.set_xlabel(frame.axis, size=10.5, labelpad=5, **PLAIN)
    height = float(figure.get_size_inches()[1])
    figure.text(
        0.2 / width, 0.1 / height, "\n".join(frame.caption), size=8.5, color=QUIET, va="bottom"
    )
    return figure


def _limits(rows: Sequence[Row], frame: Frame) -> tuple[float, float, int]:
    reaches = []
    for row in rows:
        values = [v for v in (*row.points, row.mean) if math.isfinite(v)]
        if not values:
            reaches.append((math.nan, math.nan))
            continue
        # The intervals of an early look can be of any width: those that end far out are cut at the border.
        low, high = min(values), max(values)
        room = max(high - low, frame.floor)
        ends = [min(max(end, low - room), high + room) for end in (row.low, row.high)]
        ends = [end for end in ends if math.isfinite(end)]
        reaches.append((min(low, *ends), max(high, *ends)) if ends else (low, high))
    # A line of its own (the leader's) is a row already.
    shown = on_scale(reaches, frame.floor, least=2 if frame.line is None else 1)
    ends = [end for reach in reaches[:shown] for end in reach] + list(frame.band)
    if frame.line is not None:
        ends.append(frame.line)
    ends = [end for end in ends if math.isfinite(end)] or [0.0, 1.0]
    pad = 0.05 * (max(ends) - min(ends) or 1.0)
    # Arrows to the values that are off the scale need some room.
    arrow = 1.6 * pad if shown < len(rows) else 0.0
    left = pad + (arrow if frame.worse_is_left else 0.0)
    right = pad + (0.0 if frame.worse_is_left else arrow)
    return min(ends) - left, max(ends) + right, shown


def _draw_band(axes: Axes, frame: Frame) -> None:
    if not all(math.isfinite(end) for end in frame.band):  # there is no leader: all diverged
        return
    axes.axvspan(*sorted(frame.band), color="#eaf2f8", zorder=0, linewidth=0)
    if frame.line is not None:
        axes.axvline(frame.line, color=INK, linewidth=1.0, zorder=1)
    axes.annotate(
        frame.band_label,
        (sum(frame.band) / 2, 1.0),
        xycoords=("data", "axes fraction"),
        xytext=(0, 4),
        textcoords="offset points",
        ha="center",
        size=8.5,
        color="#3c6e91",
        annotation_clip=False,
    )


def _draw_row(axes: Axes, place: int, row: Row, frame: Frame, *, inside: bool) -> None:
    low, high = axes.get_xlim()
    if not inside:
        edge = low if frame.worse_is_left else high
        toward = 1 if frame.worse_is_left else -1
        axes.plot(
            [edge + toward * 0.012 * (high - low)],
            [place],
            marker="<" if frame.worse_is_left else ">",
            color=row.color,
            markersize=8,
            linestyle="none",
        )
        return
    points = [value for value in row.points if math.isfinite(value)]
    axes.plot(
        points,
        [place + 0.24] * len(points),
        marker="o",
        linestyle="none",
        markersize=4.2,
        markerfacecolor=row.color,
        markeredgecolor="none",
        alpha=0.5,
    )
    axes.plot([row.low, row.high], [place - 0.06] * 2, color=row.color, linewidth=2.6)
    for cut, edge, arrow in ((row.low < low, low, CARETLEFT), (row.high > high, high, CARETRIGHT)):
        if cut:
            axes.plot([edge], [place - 0.06], marker=arrow, color=row.color, markersize=8)
    axes.plot(
        [row.mean],
        [place - 0.06],
        marker=row.marker,
        markersize=8.5,
        color=row.color,
        markeredgecolor="white",
        markeredgewidth=1.0,
        linestyle="none",
    )


def _draw_label(axes: Axes, place: int, row: Row, label: str) -> None:
    two_lines = "\n" in label
    beside(
        axes,
        label,
        place,
        -9,
        drop=-5 if row.note else 0,
        size=_size(label),
        weight="bold" if row.bold else "normal",
        color=row.color if row.bold else INK,
        linespacing=1.0,
    )
    beside(axes, row.note, place, -9, drop=15 if two_lines else 8, size=8.5, color=QUIET)


def _size(label: str) -> float:
    return _LABEL_POINTS if "\n" not in label else 9.0


def _draw_cells(axes: Axes, columns: Sequence[Sequence[str]], widths: Sequence[float]) -> None:
    inches = 0.0
    for (heading, *cells), width in zip(columns, widths, strict=True):
        inches += width
        beside(axes, heading, None, 72 * inches, size=8.5, color=QUIET)
        for place, cell in enumerate(cells):
            beside(axes, cell, place, 72 * inches, size=_CELL_POINTS, color=INK)
