"""The figure of a report: every layer's histogram over depth, standard deviations, and verdicts.

It uses matplotlib's object interface alone: pyplot's global state stays as it is.
"""

import math
from collections.abc import Sequence
from textwrap import wrap

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties

from initsearch.signal.exact import ExactFinding
from initsearch.signal.layer_signal import LayerSignal
from initsearch.signal.scale import HistogramScale, common_scale, outline

_INK, _QUIET, _FAINT = "#1f1f1f", "#6b6b6b", "#e3e3e3"
# Okabe and Ito's palette (2008, "Color Universal Design"), with its pale colours darkened. Each verdict is
# also written as a word.
_COLORS = {
    "healthy": "#0072B2",
    "vanishing": "#A8508A",
    "exploding": "#D55E00",
    "dead": "#000000",
    "symmetric": "#009E73",
    "saturated": "#B87F00",
    "unseen": _QUIET,
}
_GRADIENT = "#D55E00"
_WIDTH = 12.5
_DPI = 150
_LABEL_POINTS = 8.5
# Inches.
_HEADER, _FOOTER, _LINE = 1.12, 0.55, 0.19
_HIGHEST_ROW, _LOWEST_ROW, _ALL_ROWS = 0.5, 0.06, 10.5
_DEVIATIONS, _VERDICTS, _GAP, _MARGIN = 3.0, 1.05, 0.25, 0.2


def signal_figure(
    rows: Sequence[LayerSignal], exact: Sequence[ExactFinding], model: str, facts: str
) -> Figure:
    """The figure of `SignalReport.plot`; its height depends on the number of layers.

    Args:
        rows: The layers, in execution order.
        exact: Proofs that training cannot succeed, which are written below.
        model: The model's name, for the title.
        facts: What the line below the title says of batch, plan and loss.
    """
    findings = [line for each in exact for line in wrap(str(each), 150)][:12]
    row = min(_HIGHEST_ROW, max(_LOWEST_ROW, _ALL_ROWS / max(1, len(rows))))
    body = row * (len(rows) + 0.8)
    footer = _FOOTER + _LINE * len(findings)
    height = _HEADER + body + footer
    figure = Figure(figsize=(_WIDTH, height), dpi=_DPI, facecolor="white")
    canvas = FigureCanvasAgg(figure)
    scale = _scale(rows)
    _write_header(figure, model, facts, scale, height)
    for number, line in enumerate(findings):
        y = (0.1 + _LINE * (len(findings) - 1 - number)) / height
        figure.text(_MARGIN / _WIDTH, y, line, size=9, color=_COLORS["exploding"])
    labels = [_short(each.layer, 34) for each in rows]
    left = _MARGIN + 0.15 + max((_inches(canvas, text) for text in labels), default=0.0)
    right = _WIDTH - _VERDICTS
    deviations = right - _DEVIATIONS
    bottom = footer / height
    high = body / height
    shapes = figure.add_axes((left / _WIDTH, bottom, (deviations - _GAP - left) / _WIDTH, high))
    spreads = figure.add_axes((deviations / _WIDTH, bottom, _DEVIATIONS / _WIDTH, high))
    for axes in (shapes, spreads):
        _style(axes)
        axes.set_ylim(len(rows) - 0.3, -1.1)
    _draw_shapes(shapes, rows, scale)
    _draw_deviations(spreads, rows)
    every = max(1, math.ceil(0.145 / row))
    for number, each in enumerate(rows):
        if number % every == 0:
            _beside(shapes, number, 0.0, labels[number], _INK, "right")
        if each.verdict != "healthy" or number % every == 0:
            _beside(spreads, number, 1.0, each.verdict, _COLORS[each.verdict], "left")
    return figure


def _scale(rows: Sequence[LayerSignal]) -> HistogramScale:
    shown = [row for row in rows if row.histogram is not None]
    return common_scale([row.histogram for row in shown if row.histogram], list(map(_width, shown)))


def _width(row: LayerSignal) -> float | None:
    """The standard deviation of the values in the histogram."""
    return row.pre_std if row.pre_std is not None else row.post_std


def _write_header(
    figure: Figure, model: str, facts: str, scale: HistogramScale, height: float
) -> None:
    reading = "The input is at the top, the output at the bottom."
    if not scale.linear:
        reading += " On the logarithmic scale a bell has two peaks, at minus and plus its width."
    figure.text(
        _MARGIN / _WIDTH,
        1 - 0.16 / height,
        f"{_short(model, 60)}: the signal at step zero",
        size=15,
        weight="bold",
        color=_INK,
        va="top",
    )
    figure.text(
        _MARGIN / _WIDTH,
        1 - 0.5 / height,
        f"{facts}. {reading}",
        size=10.5,
        color=_QUIET,
        va="top",
    )


def _draw_shapes(axes: Axes, rows: Sequence[LayerSignal], scale: HistogramScale) -> None:
    """Draw each layer's histogram on its line: one scale for all, each with its own height."""
    axes.set_xlim(-scale.position(scale.limit), scale.position(scale.limit))
    ticks = scale.ticks()
    axes.set_xticks([scale.position(tick) for tick in ticks], [scale.label(tick) for tick in ticks])
    axes.set_yticks([])
    axes.axvline(0.0, color=_FAINT, linewidth=0.8, zorder=0)
    axes.set_xlabel(
        "pre-activations" + ("" if scale.linear else " (logarithmic on both sides of zero)")
    )
    for number, row in enumerate(rows):
        color = _COLORS[row.verdict]
        axes.axhline(number, color=_FAINT, linewidth=0.6, zorder=0)
        if row.histogram is None:
            text = "not finite" if row.verdict == "exploding" else "not seen"
            axes.annotate(text, (0.0, number - 0.3), size=8, color=_QUIET, va="center", ha="center")
            continue
        if len(row.histogram.counts) == 1:
            place = scale.position(row.histogram.edges[0])
            axes.plot([place, place], [number, number - 0.85], color=color, linewidth=1.8)
            continue
        x, share = outline(row.histogram, scale)
        y = [number - 0.9 * each for each in share]
        # Layers nearer to the output are in front.
        axes.fill_between(x, y, number, color=color, alpha=0.35, linewidth=0, zorder=1 + number)
        axes.plot(x, y, color=color, linewidth=0.9, zorder=1 + number)


def _draw_deviations(axes: Axes, rows: Sequence[LayerSignal]) -> None:
    blue = _COLORS["healthy"]
    series = (
        ("pre-activations", [_width(row) for row in rows], blue, "o", "-"),
        ("between samples", [row.pre_spread for row in rows], blue, "", ":"),
        ("gradient", [row.gradient_std for row in rows], _GRADIENT, "s", "-"),
    )
    axes.set_xscale("log")
    axes.set_yticks([])
    axes.grid(axis="x", color=_FAINT, linewidth=0.8)
    size = 4.0 if len(rows) <= 40 else 2.2
    seen: list[float] = []
    for name, values, color, marker, line in series:
        shown = [v if v is not None and math.isfinite(v) and v > 0 else math.nan for v in values]
        seen += [v for v in shown if not math.isnan(v)]
        axes.plot(
            shown,
            range(len(rows)),
            label=name,
            color=color,
            marker=marker,
            markersize=size,
            linestyle=line,
            linewidth=1.2,
        )
    if seen:
        # At least two decades: small differences look small.
        middle = math.sqrt(min(seen)) * math.sqrt(max(seen))
        axes.set_xlim(min(min(seen) / 2, middle / 10), max(max(seen) * 2, middle * 10))
    axes.set_xlabel("standard deviation")
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(-0.03, 1.0),
        ncols=3,
        frameon=False,
        fontsize=8,
        handlelength=1.6,
        columnspacing=1.0,
        borderpad=0.1,
    )


def _style(axes: Axes) -> None:
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(_QUIET)
    axes.tick_params(colors=_QUIET, labelsize=8.5, length=3)
    axes.xaxis.label.set_color(_INK)
    axes.xaxis.label.set_fontsize(9.5)
    axes.set_axisbelow(True)


def _beside(axes: Axes, row: int, side: float, text: str, color: str, align: str) -> None:
    """Write a text beside a row's line."""
    axes.annotate(
        text,
        (side, row),
        xycoords=("axes fraction", "data"),
        xytext=(-6 if align == "right" else 8, 2),
        textcoords="offset points",
        ha=align,
        va="center",
        size=_LABEL_POINTS,
        color=color,
        annotation_clip=False,
    )


def _inches(canvas: FigureCanvasAgg, text: str) -> float:
    renderer = canvas.get_renderer()  # type: ignore[no-untyped-call]
    font = FontProperties(size=_LABEL_POINTS)
    width = renderer.get_text_width_height_descent(text, font, ismath=False)[0]
    return float(width) / float(canvas.figure.dpi)


def _short(name: str, characters: int) -> str:
    """A name of at most so many characters; of a longer one the middle is left out."""
    if len(name) <= characters:
        return name
    head = (characters - 1) // 2
    return f"{name[:head]}…{name[len(name) - (characters - 1 - head) :]}"
