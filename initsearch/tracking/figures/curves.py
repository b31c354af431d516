"""Learning curves of the candidates of the race: validation accuracy, loss and the study's own metric."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from initsearch.search.verdict import Verdict
from initsearch.tracking.figures.canvas import (
    CYCLE,
    DASHES,
    FAINT,
    INK,
    PLAIN,
    add_axes,
    new_figure,
    spread,
    text_inches,
)
from initsearch.tracking.figures.error_scale import error_scale
from initsearch.tracking.figures.race import NAME_CHARACTERS, labels_of, title
from initsearch.tracking.history import CandidateHistory, StudyHistory
from initsearch.tracking.words.number_format import format_of

_LABEL_POINTS = 9.5
_LABEL_INCHES = 0.19
_AXIS_INCHES = 0.75
_PLOT_INCHES = 4.4


@dataclass(frozen=True)
class Line:
    """A candidate's curve: mean over seeds at each step.

    Attributes:
        x: Steps or epochs.
        mean: Mean of the seeds that were measured there and finite.
        low: Mean minus one standard deviation over the seeds.
        high: Mean plus one standard deviation.
        ends: Where single seeds stopped giving finite values before the others: (x, last value).
    """

    x: Sequence[float]
    mean: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    ends: Sequence[tuple[float, float]]


def curves_figure(
    verdict: Verdict, history: StudyHistory, steps_per_epoch: float | None
) -> Figure | None:
    """Each metric over the budget, a line per candidate, its name at its end.

    Args:
        verdict: Which candidates, and in which order.
        history: What was measured of them.
        steps_per_epoch: Turns steps into epochs; None leaves steps.

    Returns:
        None if nothing was measured more than once.
    """
    panels = {}
    for metric in dict.fromkeys(("val_accuracy", "val_loss", verdict.metric)):
        lines = _lines(verdict, history, metric, steps_per_epoch or 1.0)
        if any(len(line.x) > 1 for line in lines.values()):
            panels[metric] = lines
    if not panels:
        return None
    if verdict.metric != "val_loss" and _alike(panels.get("val_loss"), panels.get(verdict.metric)):
        del panels["val_loss"]
    count = max(len(lines) for lines in panels.values())
    height = max(4.6, 0.9 + _LABEL_INCHES * 1.15 * count)
    labels = labels_of(verdict, NAME_CHARACTERS)
    names = {
        one.name: labels[one.name] + (f" ({one.diverged} diverged)" if one.diverged else "")
        for one in verdict.candidates
    }
    room = 0.45 + max(text_inches(text, _LABEL_POINTS, "bold") for text in names.values())
    share = _AXIS_INCHES + _PLOT_INCHES + room
    width = share * len(panels)
    seeds = "Mean over seeds; shaded: one standard deviation. ×: a seed that diverged."
    figure, header = new_figure(width, height, title(verdict), seeds)
    for number, (metric, lines) in enumerate(panels.items()):
        left, right = share * number + _AXIS_INCHES, width - share * (number + 1) + room
        axes = add_axes(figure, left, header + 0.3, right, 0.65)
        axes.spines["left"].set_visible(True)
        axes.spines["left"].set_color("#6b6b6b")
        _draw_panel(axes, verdict, metric, lines, names)
        axes.set_xlabel("epoch" if steps_per_epoch else "optimizer step", size=10.5)
    return figure


def _alike(one: Mapping[str, Line] | None, other: Mapping[str, Line] | None) -> bool:
    """Whether two panels would show the same curves: the loss of a regression is its mean squared error."""
    if one is None or other is None or one.keys() != other.keys():
        return False
    return all(
        len(one[name].mean) == len(other[name].mean)
        and all(map(_close, one[name].mean, other[name].mean))
        for name in one
    )


def _close(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-4)  # they are summed in different precisions


def mean_line(series: Sequence[Mapping[int, float]], factor: float, per_epoch: float) -> Line:
    """The mean curve of some seeds' series (value by step).

    A step counts if at least half of the seeds that are finite to the end were measured there.
    """
    finite = [{s: v * factor for s, v in one.items() if math.isfinite(v)} for one in series]
    finite = [one for one in finite if one]
    if not finite:
        return Line((), (), (), (), ())
    last = max(max(one) for one in finite)
    lasting = [one for one in finite if max(one) == last]
    steps = sorted({step for one in finite for step in one})
    at = {step: [one[step] for one in finite if step in one] for step in steps}
    steps = [step for step in steps if 2 * len(at[step]) >= len(lasting)]
    means = [fmean(at[step]) for step in steps]
    sds = [pstdev(at[step]) for step in steps]
    ends = [(max(one) / per_epoch, one[max(one)]) for one in finite if max(one) < last]
    cut = [
        (max(kept) / per_epoch, kept[max(kept)])
        for one, kept in zip(
            [o for o in series if any(math.isfinite(v) for v in o.values())], finite, strict=True
        )
        if max(kept) == last and max(one) > last
    ]
    return Line(
        [step / per_epoch for step in steps],
        means,
        [m - sd for m, sd in zip(means, sds, strict=True)],
        [m + sd for m, sd in zip(means, sds, strict=True)],
        [*ends, *cut],
    )


def _lines(
    verdict: Verdict, history: StudyHistory, metric: str, per_epoch: float
) -> dict[str, Line]:
    factor = format_of(metric).factor
    lines = {}
    for standing in verdict.candidates:
        candidate = history.find(standing.name)
        series = [] if candidate is None else _race_series(candidate, metric, standing.scores)
        line = mean_line(series, factor, per_epoch)
        if line.x:
            lines[standing.name] = line
    return lines


def _race_series(
    candidate: CandidateHistory, metric: str, scores: Mapping[int, float]
) -> list[Mapping[int, float]]:
    """The series of the race's seeds; of all seeds if the race's were not measured one by one."""
    by_seed = candidate.by_seed(metric)
    return [by_seed[s] for s in scores if s in by_seed] or list(by_seed.values())


def _draw_panel(
    axes: Axes,
    verdict: Verdict,
    metric: str,
    lines: Mapping[str, Line],
    names: Mapping[str, str],
) -> None:
    values = [v for line in lines.values() for v in line.mean]
    if metric == "val_accuracy":
        _accuracy_axis(axes, values)
    elif min(values) > 0 and max(values) > 20 * min(values):
        axes.set_yscale("log")
    axes.grid(axis="y", color=FAINT, linewidth=0.8)
    for place, (name, line) in enumerate(lines.items()):
        style: dict[str, Any] = {
            "color": CYCLE[place % len(CYCLE)],
            "linestyle": DASHES[place // len(CYCLE) % len(DASHES)],
        }
        bold = name in verdict.tie_set
        axes.fill_between(
            line.x, line.low, line.high, color=style["color"], alpha=0.13, linewidth=0
        )
        axes.plot(line.x, line.mean, linewidth=2.6 if bold else 1.5, zorder=3, **style)
        for x, y in line.ends:
            axes.plot([x], [y], marker="x", color=style["color"], markersize=7, markeredgewidth=2)
    axes.set_title(format_of(metric).label, loc="left", size=11, color=INK, pad=8)
    _draw_names(axes, verdict, lines, names)


def _draw_names(
    axes: Axes, verdict: Verdict, lines: Mapping[str, Line], names: Mapping[str, str]
) -> None:
    """Each name beside its line's end, moved up or down as far as its neighbours need."""
    axes.set_xlim(left=0.0, right=max(max(line.x) for line in lines.values()))
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)
    figure = axes.get_figure(root=True)
    if figure is None:
        raise TypeError("the axes belong to no figure")
    width, height = (float(side) for side in figure.get_size_inches())
    inches = float(axes.get_position().height) * height
    beside = 1.0 + 0.3 / (float(axes.get_position().width) * width)
    to_share = axes.transLimits.transform
    scaled = axes.transScale.transform
    wanted = [float(to_share(scaled((line.x[-1], line.mean[-1])))[1]) for line in lines.values()]
    placed = spread(wanted, _LABEL_INCHES / inches, 0.0, 1.0)
    for place, (name, line) in enumerate(lines.items()):
        color = CYCLE[place % len(CYCLE)]
        axes.annotate(
            names[name],
            (line.x[-1], line.mean[-1]),
            xytext=(beside, placed[place]),
            textcoords="axes fraction",
            va="center",
            size=_LABEL_POINTS,
            weight="bold" if name in verdict.tie_set else "normal",
            color=INK,
            annotation_clip=False,
            **PLAIN,
            arrowprops={
                "arrowstyle": "-",
                "relpos": (0.0, 0.5),
                "color": color,
                "linewidth": 1.4,
                "shrinkA": 2,
                "shrinkB": 0,
                "linestyle": DASHES[place // len(CYCLE) % len(DASHES)],
            },
        )


def _accuracy_axis(axes: Axes, values: Sequence[float]) -> None:
    """If some candidates are near 100 % and others are not, errors on a log scale show both."""
    if max(values) < 90 or min(values) > 75:
        return
    # Half a point more than the error keeps 100 % on the scale.
    error_scale(axes, "y")
