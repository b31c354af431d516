"""The race: scores of the candidates, and their paired differences to the leader."""

import math
from statistics import fmean, stdev

from matplotlib.figure import Figure
from scipy.stats import t as student

from initsearch.search.verdict import Standing, Verdict
from initsearch.tracking.figures.canvas import BLUE, QUIET, VERMILION, short
from initsearch.tracking.figures.rows import Frame, Row, rows_figure
from initsearch.tracking.words.scale import p_text, scale_of

# Names longer than this are shortened where they stand beside curves.
NAME_CHARACTERS = 34


def race_figure(verdict: Verdict) -> Figure:
    """Mean, interval and the seeds' points of every candidate, best on top; the margin is shaded."""
    scale = scale_of(verdict.metric)
    leader = verdict.candidates[0]
    sign = 1.0 if verdict.higher_is_better else -1.0
    best = leader.mean * scale.factor
    labels = labels_of(verdict)
    rows = [
        Row(
            name=labels[standing.name],
            color=_color(verdict, standing),
            marker="D" if standing.name == verdict.baseline else "o",
            bold=standing.name in verdict.tie_set,
            points=[score * scale.factor for score in standing.scores.values()],
            mean=standing.mean * scale.factor,
            low=standing.ci_low * scale.factor,
            high=standing.ci_high * scale.factor,
            cells=(
                scale.text(standing.mean),
                f"±{scale.width((standing.ci_high - standing.ci_low) / 2)}",
                str(standing.n_seeds),
            ),
            note=_note(verdict, standing),
        )
        for standing in verdict.candidates
    ]
    frame = Frame(
        title=title(verdict),
        subtitle=verdict.sentence,
        axis=scale.label if verdict.higher_is_better else f"{scale.label}, lower is better",
        columns=("mean", "interval", "seeds"),
        band=(best - sign * verdict.margin, best),
        band_label=f"margin: {verdict.margin:g}{scale.gap_unit}",
        worse_is_left=verdict.higher_is_better,
        floor=verdict.margin,
        caption=("Marks and bars: mean with its interval. Dots: one seed each.",),
    )
    return rows_figure(rows, frame)


def gaps_figure(verdict: Verdict) -> Figure:
    """How much better or worse than the leader each candidate is, on the seeds that both have.

    The interval is Student's, at the verdict's alpha, of the mean paired difference: for the eye;
    the verdict rests on its own tests.
    """
    scale = scale_of(verdict.metric)
    leader, *others = verdict.candidates
    rows = [_gap_row(verdict, leader, standing) for standing in others]
    unit = scale.gap_unit.strip()
    frame = Frame(
        title=title(verdict),
        subtitle=f"Difference to {leader.name} on the same seed: the luck that all share cancels out.",
        axis=f"difference to {short(leader.name, 60)}" + (f" ({unit})" if unit else ""),
        columns=("difference", "p", "pairs"),
        band=(-verdict.margin, verdict.margin),
        band_label=f"margin: ±{verdict.margin:g}{scale.gap_unit}",
        worse_is_left=verdict.higher_is_better,
        floor=verdict.margin,
        line=0.0,
        caption=(
            f"Marks and bars: mean with its {100 * (1 - verdict.alpha):g} % interval. "
            "Dots: one seed each. p: of the verdict's test.",
        ),
    )
    return rows_figure(rows, frame)


def _gap_row(verdict: Verdict, leader: Standing, standing: Standing) -> Row:
    scale = scale_of(verdict.metric)
    pairs = [
        (score - leader.scores[seed]) * scale.factor
        for seed, score in standing.scores.items()
        if seed in leader.scores and math.isfinite(score - leader.scores[seed])
    ]
    mean = fmean(pairs) if pairs else math.nan
    half = math.nan
    if len(pairs) > 1:
        quantile = float(student.ppf(1 - verdict.alpha / 2, len(pairs) - 1))
        half = quantile * stdev(pairs) / math.sqrt(len(pairs))
    return Row(
        name=labels_of(verdict)[standing.name],
        color=_color(verdict, standing),
        marker="D" if standing.name == verdict.baseline else "o",
        bold=standing.name in verdict.tie_set,
        points=pairs,
        mean=mean,
        low=mean - half,
        high=mean + half,
        cells=(scale.gap(mean / scale.factor), p_text(standing.p_value), str(len(pairs))),
        note=_note(verdict, standing),
    )


def labels_of(verdict: Verdict, characters: int | None = None) -> dict[str, str]:
    """How each candidate is called on the figures.

    Where some name has to be shortened on one of them, all are numbered, best first, so that the
    figures can be compared.

    Args:
        verdict: Of the candidates.
        characters: The longest that a name may be here; None leaves names whole.
    """
    names = [standing.name for standing in verdict.candidates]
    numbered = any(len(name) > NAME_CHARACTERS for name in names)
    return {
        name: (f"{place}. " if numbered else "") + short(name, characters or len(name))
        for place, name in enumerate(names, start=1)
    }


def title(verdict: Verdict) -> str:
    """Model and data set with the verdict; says so where another data set stepped in."""
    asked = verdict.requested_dataset
    instead = "" if asked == verdict.dataset else f" (in place of {asked})"
    status = {"winner": f"{verdict.winner} wins", "tie": "a tie", "undecided": "undecided"}
    return f"{verdict.architecture} on {verdict.dataset}{instead}: {status[verdict.status]}"


def _color(verdict: Verdict, standing: Standing) -> str:
    if standing.name in verdict.tie_set:
        return BLUE
    return VERMILION if standing.name == verdict.baseline else QUIET


def _note(verdict: Verdict, standing: Standing) -> str:
    parts = []
    if standing.name == verdict.baseline:
        parts.append("the framework's default")
    if standing.diverged:
        parts.append(f"diverged on {standing.diverged} of {standing.n_seeds} seeds")
    elif standing.dropped_at is not None:
        parts.append(f"stopped after {standing.dropped_at} seeds")
    return ", ".join(parts)
