"""The race: scores of the candidates, and their paired differences to the leader."""

from matplotlib.figure import Figure

from initsearch.errors import visible
from initsearch.search.verdict import Standing, Verdict
from initsearch.tracking.figures.canvas import BLUE, QUIET, VERMILION, short
from initsearch.tracking.figures.rows import Frame, Row, rows_figure
from initsearch.tracking.words.answer import default_line
from initsearch.tracking.words.leaderboard import gap_interval_text, on_other_seeds
from initsearch.tracking.words.number_format import format_of, level_text, p_text

# Names longer than this are shortened where they stand beside curves.
NAME_CHARACTERS = 34
OTHER_SEEDS = "* on other seeds than the leader: compare the two by their gap, not by their means."
SHARED_SEEDS = "* on the seeds that both have: the means may differ by another amount."
LOST_RUNS = "A run that diverged has no dot; in the difference it counts with the score of a guess."


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
        caption=(
            f"Marks and bars: mean with its {level_text(verdict.alpha)} confidence interval. "
            "Dots: one seed each.",
            *([OTHER_SEEDS] if star else ()),
        ),
    )
    return rows_figure(rows, frame)


def gaps_figure(verdict: Verdict) -> Figure:
    """How much better or worse than the leader each candidate is, on the seeds that both have.

    The bars are the intervals that decide, over all looks: a candidate whose bar stays outside the margin is
    beaten; the bars of a tie lie within the margin.
    """
    form = format_of(verdict.metric)
    leader, *others = verdict.candidates
    rows = [_gap_row(verdict, leader, standing) for standing in others]
    star = any(row.cells[-1].endswith("*") for row in rows)
    lost = any(standing.diverged for standing in verdict.candidates)
    footnotes = [SHARED_SEEDS] * star + [LOST_RUNS] * lost
    answer = f"{default_line(verdict)}. " if verdict.against_baseline else ""
    name = visible(leader.name)
    unit = form.gap_unit.strip()
    frame = Frame(
        title=title(verdict),
        subtitle=f"{answer}Differences to {name} on the same seed: what all share there cancels out.",
        axis=f"difference to {short(name, 60)}" + (f" ({unit})" if unit else ""),
        columns=("difference", "interval", "adjusted p", "pairs"),
        band=(-verdict.margin, verdict.margin),
        band_label=f"margin: ±{verdict.margin:g}{form.gap_unit}",
        worse_is_left=verdict.higher_is_better,
        floor=verdict.margin,
        line=0.0,
        caption=(
            f"Marks and bars: mean difference with its {gap_interval_text(verdict)}.",
            "Dots: one seed each. Adjusted p: paired t-test, after Holm's correction over all pairs.",
            *footnotes,
        ),
    )
    return rows_figure(rows, frame)


def _gap_row(verdict: Verdict, leader: Standing, standing: Standing) -> Row:
    form = format_of(verdict.metric)
    differences = [
        score - leader.scores[seed]
        for seed, score in standing.scores.items()
        if seed in leader.scores
    ]
    star = "*" if on_other_seeds(verdict, standing) else ""
    # A gap is positive for a worse candidate, whatever the metric's direction.
    sign = -1.0 if verdict.higher_is_better else 1.0
    ends = sorted(sign * form.clipped_gap(end) for end in (standing.gap_low, standing.gap_high))
    return Row(
        name=labels_of(verdict)[standing.name],
        color=_color(verdict, standing),
        marker="D" if standing.name == verdict.baseline else "o",
        bold=standing.name in verdict.tie_set,
        points=[difference * form.factor for difference in differences],
        mean=sign * standing.gap_to_leader * form.factor,
        low=ends[0] * form.factor,
        high=ends[1] * form.factor,
        cells=(
            form.gap(sign * standing.gap_to_leader),
            form.gap_interval(*ends),
            p_text(standing.p_adjusted),
            f"{len(differences)}{star}",
        ),
        note=_note(verdict, standing),
    )


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
    """Model and data set (with the one that was requested, if it is another), the verdict, what to take."""
    instead = f" (in place of {verdict.requested_dataset})"
    dataset = verdict.dataset + (instead if verdict.requested_dataset != verdict.dataset else "")
    status = {"winner": f"{verdict.winner} wins", "tie": "a tie", "undecided": "undecided"}
    other = verdict.recommended not in (None, verdict.winner)
    take = f"; take {short(str(verdict.recommended), NAME_CHARACTERS)}" if other else ""
    return f"{verdict.architecture} on {dataset}: {status[verdict.status]}{take}"


def _color(verdict: Verdict, standing: Standing) -> str:
    if standing.name in verdict.tie_set:
        return BLUE
    return VERMILION if standing.name == verdict.baseline else QUIET


def _note(verdict: Verdict, standing: Standing) -> str:
    parts = []
    if standing.name == verdict.baseline:
        answer = verdict.against_baseline
        beaten = answer is not None and answer.status == "beaten"
        parts.append("the framework's default" + (", beaten" if beaten else ""))
    if standing.name == verdict.recommended and standing.name != verdict.winner:
        parts.append("to take")
    if standing.diverged:
        parts.append(f"diverged on {standing.diverged} of {standing.n_seeds} seeds")
    elif standing.dropped_at is not None:
        parts.append(f"dropped after {standing.dropped_at} seeds")
    return ", ".join(parts)
