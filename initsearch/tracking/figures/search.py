"""The search: every candidate's score, by scheme."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from initsearch.search.verdict import Verdict
from initsearch.tracking.figures.canvas import (
    BLUE,
    FAINT,
    INK,
    QUIET,
    VERMILION,
    add_axes,
    beside,
    folded,
    new_figure,
    text_inches,
)
from initsearch.tracking.figures.error_scale import backward, error_scale, forward
from initsearch.tracking.history import CandidateHistory, StudyHistory
from initsearch.tracking.words.scale import Scale, scale_of

_ROW_INCHES = 0.44
_LABEL_POINTS = 11.0


def search_figure(verdict: Verdict, record: StudyHistory) -> Figure | None:
    """A row per scheme, best first, a dot per candidate at its last score.

    Full: trained to the search's end; hollow: pruned, so that its score is that of a smaller
        budget;
    crosses: diverged or failed. A score that is not finite stands at the worse edge.

    Returns:
        None where no candidate has a score.
    """
    metric = record.study.metric
    scale = scale_of(metric)
    schemes: dict[str, list[tuple[CandidateHistory, float]]] = {}
    for candidate in record.candidates:
        last = candidate.last(metric)
        if last is not None:
            schemes.setdefault(candidate.info.scheme, []).append(
                (candidate, last[1] * scale.factor)
            )
    scores = [score for dots in schemes.values() for _, score in dots if math.isfinite(score)]
    if not scores:
        return None
    higher = record.study.higher_is_better

    def best(dots: Sequence[tuple[CandidateHistory, float]]) -> float:
        finite = [score if higher else -score for _, score in dots if math.isfinite(score)]
        return max(finite, default=-math.inf)

    order = sorted(schemes, key=lambda scheme: best(schemes[scheme]), reverse=True)
    pruned = sum(c.status == "pruned" for c in record.candidates)
    figure, header = new_figure(
        11.0,
        0.3 + _ROW_INCHES * len(order) + 1.0,
        f"The search: {len(record.candidates)} candidates, {len(order)} schemes",
        f"{record.study.architecture} on {record.study.dataset}; pruned early: {pruned}. "
        "The race on fresh seeds, not this picture, decides.",
    )
    labels = [folded(scheme) for scheme in order]
    left = 0.4 + max(text_inches(label, _LABEL_POINTS) for label in labels)
    axes = add_axes(figure, left, header + 0.3, 0.9, 1.0)
    _set_scale(axes, scale, scores)
    axes.set_ylim(len(order) - 0.5, -0.5)
    axes.set_yticks([])
    axes.grid(axis="x", color=FAINT, linewidth=0.8)
    worst = min(scores) if higher else max(scores)
    beside(axes, "best", None, 52, size=8.5, color=QUIET)
    for place, (scheme, label) in enumerate(zip(order, labels, strict=True)):
        _draw_scheme(axes, place, schemes[scheme], worst, verdict)
        beside(axes, label, place, -10, size=_LABEL_POINTS, color=INK)
        score = best(schemes[scheme]) * (1 if higher else -1) / scale.factor
        beside(axes, scale.text(score), place, 52, size=10, color=INK)
    axes.set_xlabel(scale.label if higher else f"{scale.label}, lower is better", size=10.5)
    _draw_key(figure)
    return figure


def _set_scale(axes: Axes, scale: Scale, scores: Sequence[float]) -> None:
    """A scale on which the best can be told apart, whatever the worst did."""
    low_end, high_end = min(scores), max(scores)
    if scale.factor == 100.0 and high_end > 90 and low_end < 75:
        error_scale(axes, "x")
        low, high = float(forward(low_end)), float(forward(high_end))
        pad = 0.04 * (high - low)
        axes.set_xlim(float(backward(low - pad)), float(backward(high + pad)))
    elif scale.factor == 1.0 and low_end > 0 and high_end > 20 * low_end:
        axes.set_xscale("log")
        axes.set_xlim(low_end / 1.2, high_end * 1.2)
    else:
        pad = 0.04 * (high_end - low_end or 1.0)
        axes.set_xlim(low_end - pad, high_end + pad)


def _draw_scheme(
    axes: Axes,
    place: int,
    dots: Sequence[tuple[CandidateHistory, float]],
    worst: float,
    verdict: Verdict,
) -> None:
    finite = sorted(score for _, score in dots if math.isfinite(score))
    if len(finite) > 1:
        axes.plot([finite[0], finite[-1]], [place, place], color="#d0d0d0", linewidth=1.2, zorder=1)
    for number, (candidate, score) in enumerate(dots):
        # Neighbours in a row's list sit above and below its middle, so that equal scores are both
        # seen.
        height = place + 0.11 * ((number % 3) - 1) * (len(dots) > 1)
        there = math.isfinite(score)
        lost = candidate.status in ("diverged", "failed") or not there
        color = VERMILION if candidate.info.name == verdict.baseline else BLUE
        hollow = candidate.status == "pruned"
        axes.plot(
            [score if there else worst],
            [height],
            marker="x" if lost else ("D" if candidate.info.name == verdict.baseline else "o"),
            color=QUIET if lost else color,
            markerfacecolor="white" if hollow else color,
            markeredgewidth=1.5,
            markersize=6.5,
            linestyle="none",
            alpha=0.85,
            zorder=3,
        )


def _draw_key(figure: Figure) -> None:
    def mark(marker: str, color: str, face: str, text: str) -> Line2D:
        return Line2D(
            [],
            [],
            marker=marker,
            color=color,
            markerfacecolor=face,
            markeredgewidth=1.5,
            linestyle="none",
            markersize=6.5,
            label=text,
        )

    figure.legend(
        handles=[
            mark("o", BLUE, BLUE, "trained to the end of the search"),
            mark("o", BLUE, "white", "pruned: score of a smaller budget"),
            mark("x", QUIET, QUIET, "diverged or failed"),
            mark("D", VERMILION, VERMILION, "the framework's default"),
        ],
        loc="lower left",
        bbox_to_anchor=(0.01, 0.005),
        ncols=4,
        frameon=False,
        fontsize=8.5,
        labelcolor=QUIET,
        handletextpad=0.2,
        columnspacing=1.6,
    )
