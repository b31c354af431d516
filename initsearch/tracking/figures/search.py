"""The search: every candidate's score, by scheme."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from initsearch.errors import visible
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
from initsearch.tracking.words.number_format import NumberFormat, format_of

_ROW_INCHES = 0.44
_LABEL_POINTS = 11.0
_LOST_INCHES = 1.1  # the strip for candidates without a score
_GAP_INCHES = 0.15
_BEST_INCHES = 0.9  # the column of numbers at the right


@dataclass(frozen=True)
class _Dot:
    """A candidate in the picture: its last score as it is shown; NaN if it is lost."""

    candidate: CandidateHistory
    score: float

    @property
    def lost(self) -> bool:
        """Whether it diverged or failed: it has no score that could be compared."""
        return math.isnan(self.score)


def search_figure(verdict: Verdict, history: StudyHistory) -> Figure | None:
    """A row per scheme, best first, a dot per candidate at its last score.

    Candidates that start from the same weights at the same learning rate are one dot. Full dots were trained to
    the end of the search. Hollow ones were pruned: theirs is the score of a smaller budget. Candidates that
    diverged or failed have no score; they stand in a strip of their own on the worse side.

    Returns:
        None if no candidate has a score.
    """
    study = history.study
    form, higher = format_of(study.metric), study.higher_is_better
    schemes: dict[str, list[_Dot]] = {}
    raced = {standing.name for standing in verdict.candidates}
    distinct = [c for c in history.candidates if c.info.twin_of is None or c.info.name in raced]
    for candidate in distinct:
        dot = _Dot(candidate, _score(candidate, study.metric) * form.factor)
        schemes.setdefault(candidate.info.scheme, []).append(dot)
    scores = [dot.score for dots in schemes.values() for dot in dots if not dot.lost]
    if not scores:
        return None

    def best(dots: Sequence[_Dot]) -> float:
        ranked = [dot.score if higher else -dot.score for dot in dots if not dot.lost]
        return max(ranked, default=-math.inf)

    order = sorted(schemes, key=lambda scheme: best(schemes[scheme]), reverse=True)
    pruned = sum(c.status == "pruned" for c in distinct)
    figure, header = new_figure(
        11.0,
        0.3 + _ROW_INCHES * len(order) + 1.0,
        f"The search: {len(distinct)} candidates, {len(order)} schemes",
        f"{study.architecture} on {study.dataset}; {pruned} pruned early. "
        "The verdict comes from the race on fresh seeds, not from these scores.",
    )
    labels = [folded(visible(scheme)) for scheme in order]
    left = 0.4 + max(text_inches(label, _LABEL_POINTS) for label in labels)
    lost = any(dot.lost for dots in schemes.values() for dot in dots)
    axes, strip = _make_axes(figure, left, header + 0.3, lost, higher)
    _set_scale(axes, form, scores)
    for one in (axes, strip):
        if one is not None:
            one.set_ylim(len(order) - 0.5, -0.5)
            one.set_yticks([])
    axes.grid(axis="x", color=FAINT, linewidth=0.8)
    first, last = (strip, axes) if strip is not None and higher else (axes, strip or axes)
    beside(last, "best", None, 52, size=8.5, color=QUIET)
    for place, (scheme, label) in enumerate(zip(order, labels, strict=True)):
        _draw_scores(axes, place, [dot for dot in schemes[scheme] if not dot.lost], verdict)
        if strip is not None:
            _draw_lost(strip, place, [dot for dot in schemes[scheme] if dot.lost], verdict)
        beside(first, label, place, -10, size=_LABEL_POINTS, color=INK)
        score = best(schemes[scheme]) * (1 if higher else -1) / form.factor
        beside(last, form.text(score), place, 52, size=10, color=INK)
    axes.set_xlabel(form.label if higher else f"{form.label}, lower is better", size=10.5)
    _draw_key(figure)
    return figure


def _score(candidate: CandidateHistory, metric: str) -> float:
    """The last score; NaN for a candidate that diverged or failed, whatever it had before."""
    last = candidate.last(metric)
    if last is None or candidate.status in ("diverged", "failed") or not math.isfinite(last[1]):
        return math.nan
    return last[1]


def _make_axes(
    figure: Figure, left: float, top: float, lost: bool, higher: bool
) -> tuple[Axes, Axes | None]:
    """The axes of the scores and, if any candidate is lost, the strip on the worse side of them."""
    if not lost:
        return add_axes(figure, left, top, _BEST_INCHES, 1.0), None
    width = float(figure.get_size_inches()[0])
    beyond = _LOST_INCHES + _GAP_INCHES
    if higher:
        axes = add_axes(figure, left + beyond, top, _BEST_INCHES, 1.0)
        strip = add_axes(figure, left, top, width - left - _LOST_INCHES, 1.0)
    else:
        axes = add_axes(figure, left, top, _BEST_INCHES + beyond, 1.0)
        strip = add_axes(figure, width - _BEST_INCHES - _LOST_INCHES, top, _BEST_INCHES, 1.0)
    strip.set_facecolor("#f4f4f4")
    strip.set_xlim(0.0, 1.0)
    strip.set_xticks([])
    strip.spines["bottom"].set_visible(False)
    strip.annotate(
        "no score", (0.5, 1.0), xycoords="axes fraction", xytext=(0, 4),
        textcoords="offset points", ha="center", va="bottom", size=8.5, color=QUIET,
    )  # fmt: skip
    return axes, strip


def _set_scale(axes: Axes, form: NumberFormat, scores: Sequence[float]) -> None:
    """A scale on which the best candidates stand apart, however bad the worst are."""
    low_end, high_end = min(scores), max(scores)
    if form.factor == 100.0 and high_end > 90 and low_end < 75:
        error_scale(axes, "x")
        low, high = float(forward(low_end)), float(forward(high_end))
        pad = 0.04 * (high - low)
        axes.set_xlim(float(backward(low - pad)), float(backward(high + pad)))
    elif form.factor == 1.0 and low_end > 0 and high_end > 20 * low_end:
        axes.set_xscale("log")
        axes.set_xlim(low_end / 1.2, high_end * 1.2)
    else:
        pad = 0.04 * (high_end - low_end or 1.0)
        axes.set_xlim(low_end - pad, high_end + pad)


def _draw_scores(axes: Axes, place: int, dots: Sequence[_Dot], verdict: Verdict) -> None:
    scores = sorted(dot.score for dot in dots)
    if len(scores) > 1:
        axes.plot([scores[0], scores[-1]], [place, place], color="#d0d0d0", linewidth=1.2, zorder=1)
    for number, dot in enumerate(dots):
        default = dot.candidate.info.name == verdict.baseline
        color = VERMILION if default else BLUE
        hollow = dot.candidate.status == "pruned"
        # Neighbours stand at different heights, which shows both of two equal scores.
        height = place + 0.11 * ((number % 3) - 1) * (len(dots) > 1)
        axes.plot(
            [dot.score], [height], marker="D" if default else "o", color=color,
            markerfacecolor="white" if hollow else color,
            markeredgewidth=1.5, markersize=6.5, linestyle="none", alpha=0.85, zorder=3,
        )  # fmt: skip


def _draw_lost(strip: Axes, place: int, dots: Sequence[_Dot], verdict: Verdict) -> None:
    for number, dot in enumerate(dots, start=1):
        default = dot.candidate.info.name == verdict.baseline
        strip.plot(
            [number / (len(dots) + 1)], [place],
            marker="+" if dot.candidate.status == "failed" else "x",
            color=VERMILION if default else QUIET,
            markeredgewidth=1.5, markersize=6.5, linestyle="none",
        )  # fmt: skip


#: The key: marker, colour, colour of the inside, text.
_KEY = (
    ("o", BLUE, BLUE, "trained to the end of the search"),
    ("o", BLUE, "white", "pruned: score of a smaller budget"),
    ("x", QUIET, QUIET, "diverged"),
    ("+", QUIET, QUIET, "failed"),
    ("D", VERMILION, VERMILION, "the framework's default"),
)


def _draw_key(figure: Figure) -> None:
    style: dict[str, Any] = {"markeredgewidth": 1.5, "linestyle": "none", "markersize": 6.5}
    figure.legend(
        handles=[
            Line2D([], [], marker=marker, color=color, markerfacecolor=face, label=text, **style)
            for marker, color, face, text in _KEY
        ],
        loc="lower left",
        bbox_to_anchor=(0.01, 0.005),
        ncols=len(_KEY),
        frameon=False,
        fontsize=8.5,
        labelcolor=QUIET,
        handletextpad=0.2,
        columnspacing=1.6,
    )
