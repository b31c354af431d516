"""The race: scores of the candidates, and their paired differences to the leader."""

import math
from statistics import fmean, stdev

from matplotlib.figure import Figure
from scipy.stats import t as student

from initsearch.search.verdict import Standing, Verdict
from initsearch.tracking.figures.canvas import BLUE, QUIET, VERMILION, short
from initsearch.tracking.figures.rows import Frame, Row, rows_figure
from initsearch.tracking.words.escape import visible
from initsearch.tracking.words.leaderboard import on_other_seeds
from initsearch.tracking.words.number_format import format_of, level_text, p_text

# Names longer than this are shortened where they stand beside curves.
NAME_CHARACTERS = 34
OTHER_SEEDS = "* on other seeds than the leader: compare the two by their gap, not by their means."
SHARED_SEEDS = (
    "* on fewer seeds than the means: those that both have, without runs that diverged. The means may differ "
    "by another amount."
)


def race_figure(verdict: Verdict) -> Figure:
    """Mean, interval and the seeds' points of every candidate, best on top; the margin is shaded."""
    form = format_of(verdict.metric)
    leader = verdict.candidates[0]
    sign = 1.0 if verdict.higher_is_better else -1.0
    best = leader.mean * form.factor
    labels = labels_of(verdict)
    star = any(on_other_seeds(verdict, standing) for standing in verdict.candidates)
    rows = [
        Row(
            name=labels[standing.name],
            color=_color(verdict, standing),
            marker="D" if standing.name == verdict.baseline else "o",
            bold=standing.name in verdict.tie_set,
            points=[score * form.factor for score in standing.scores.values()],
            mean=standing.mean * form.factor,
            low=form.clipped(standing.ci_low) * form.factor,
            high=form.clipped(standing.ci_high) * form.factor,
            cells=(
                form.text(standing.mean),
                form.interval(standing.ci_low, standing.ci_high),
                f"{standing.n_seeds}{'*' if on_other_seeds(verdict, standing) else ''}",
            ),
            note=_note(verdict, standing),
        )
        for standing in verdict.candidates
    ]
    frame = Frame(
        title=title(verdict),
        subtitle=verdict.sentence,
        axis=form.label if verdict.higher_is_better else f"{form.label}, lower is better",
        columns=("mean", f"{level_text(verdict.alpha)} interval", "seeds"),
        band=(best - sign * verdict.margin, best),
        band_label=f"margin: {verdict.margin:g}{form.gap_unit}",
        worse_is_left=verdict.higher_is_better,
        floor=verdict.margin,
        caption=_caption(verdict, "mean", OTHER_SEEDS if star else ""),
    )
    return rows_figure(rows, frame)


def gaps_figure(verdict: Verdict) -> Figure:
    """How much better or worse than the leader each candidate is, on the seeds that both have.

    The interval is Student's, of the mean paired difference, at the verdict's alpha. It is for the eye: the
    verdict rests on its own tests, which allow for several looks.
    """
    form = format_of(verdict.metric)
    leader, *others = verdict.candidates
    rows = [_gap_row(verdict, leader, standing) for standing in others]
    star = any(row.cells[-1].endswith("*") for row in rows)
    name = visible(leader.name)
    unit = form.gap_unit.strip()
    frame = Frame(
        title=title(verdict),
        subtitle=f"Differences to {name} on the same seed: what all candidates share there cancels out.",
        axis=f"difference to {short(name, 60)}" + (f" ({unit})" if unit else ""),
        columns=("difference", "p", "pairs"),
        band=(-verdict.margin, verdict.margin),
        band_label=f"margin: ±{verdict.margin:g}{form.gap_unit}",
        worse_is_left=verdict.higher_is_better,
        floor=verdict.margin,
        line=0.0,
        caption=_caption(
            verdict, "mean difference", SHARED_SEEDS if star else "", p="of the verdict's test"
        ),
    )
    return rows_figure(rows, frame)


def _gap_row(verdict: Verdict, leader: Standing, standing: Standing) -> Row:
    form = format_of(verdict.metric)
    differences = {
        seed: (score - leader.scores[seed]) * form.factor
        for seed, score in standing.scores.items()
        if seed in leader.scores and math.isfinite(score - leader.scores[seed])
    }
    pairs = list(differences.values())
    complete = differences.keys() == standing.scores.keys() == leader.scores.keys()
    count = f"{len(pairs)}{'' if complete else '*'}"
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
        cells=(form.gap(mean / form.factor), p_text(standing.p_value), count),
        note=_note(verdict, standing),
    )


def _caption(verdict: Verdict, mean: str, footnote: str, p: str = "") -> tuple[str, ...]:
    marks = f"Marks and bars: {mean} with its {level_text(verdict.alpha)} confidence interval."
    lines = (f"{marks} Dots: one seed each." + (f" p: {p}." if p else ""), footnote)
    return tuple(line for line in lines if line)


def labels_of(verdict: Verdict, characters: int | None = None) -> dict[str, str]:
    """Each candidate's label on the figures, by name.

    If a name has to be shortened on one of them, all are numbered, best first: figures can be compared.

    Args:
        verdict: Whose candidates.
        characters: The longest that a name may be here; None leaves names whole.
    """
    names = {standing.name: visible(standing.name) for standing in verdict.candidates}
    numbered = any(len(name) > NAME_CHARACTERS for name in names.values())
    return {
        name: (f"{place}. " if numbered else "") + short(shown, characters or len(shown))
        for place, (name, shown) in enumerate(names.items(), start=1)
    }


def title(verdict: Verdict) -> str:
    """Model and data set with the verdict, and the data set that was requested if it is another one."""
    instead = f" (in place of {verdict.requested_dataset})"
    dataset = verdict.dataset + (instead if verdict.requested_dataset != verdict.dataset else "")
    status = {"winner": f"{verdict.winner} wins", "tie": "a tie", "undecided": "undecided"}
    return f"{verdict.architecture} on {dataset}: {status[verdict.status]}"


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
        parts.append(f"dropped after {standing.dropped_at} seeds")
    return ", ".join(parts)
