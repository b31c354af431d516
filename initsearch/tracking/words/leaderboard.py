"""The leaderboard: a row per candidate with all that is known of it, for files and for MLflow."""

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from initsearch.errors import visible
from initsearch.files import write_whole
from initsearch.race import BaselineGap
from initsearch.search.verdict import RateGap, Speed, Standing, Verdict
from initsearch.tracking.words.dropped import dropped_of
from initsearch.tracking.words.number_format import format_of, level_text


def leaderboard_rows(verdict: Verdict) -> list[dict[str, Any]]:
    """A row per candidate, best first, in units of the metric as in `verdict.json`.

    Those of the race come first. They are followed by those that only the search trained, with the mean over
    its seeds at the epoch where they ended, and their gap to the leader at that epoch.

    Returns:
        Rows with `rank` (from 1), `candidate`, `scheme`, `mark` (see `mark_of`; `pruned`, `diverged`,
        `failed` or `complete` for those of the search), `baseline`, `recommended`, `mean`, `ci_low`,
        `ci_high`, `std`, `gap_to_leader`, `gap_low`, `gap_high`, `p_value`, `p_adjusted`,
        `lead_over_baseline`, `lead_low`, `lead_high`, `beats_baseline`, `n_seeds`, `diverged`,
        `failure_bound`, `speed` (see `Speed`), `speed_low`, `speed_high`, `dropped_at`, `lr`, `plan`
        (JSON), `also_named` (separated by commas), `epoch` (of the search, where it ended) and `reason`.
    """
    leads = leads_of(verdict)
    raced = [
        {
            "rank": rank,
            "candidate": standing.name,
            "scheme": standing.scheme,
            "mark": mark_of(verdict, standing),
            "baseline": standing.name == verdict.baseline,
            "recommended": standing.name == verdict.recommended,
            "mean": standing.mean,
            "ci_low": standing.ci_low,
            "ci_high": standing.ci_high,
            "std": standing.std,
            "gap_to_leader": standing.gap_to_leader,
            "gap_low": standing.gap_low,
            "gap_high": standing.gap_high,
            "p_value": standing.p_value,
            "p_adjusted": standing.p_adjusted,
            **_lead(leads.get(standing.name)),
            "n_seeds": standing.n_seeds,
            "diverged": standing.diverged,
            "failure_bound": standing.failure_bound,
            **_speed(standing.speed),
            "dropped_at": standing.dropped_at,
            "lr": standing.lr,
            "plan": json.dumps(standing.plan, sort_keys=True, default=str),
            "also_named": ", ".join(standing.also_named),
            "epoch": None,
            "reason": "",
        }
        for rank, standing in enumerate(verdict.candidates, start=1)
    ]
    searched = [
        {
            **dict.fromkeys(raced[0]),
            "rank": rank,
            "candidate": one.name,
            "scheme": one.scheme,
            "mark": one.status,
            "baseline": False,
            "recommended": False,
            "mean": one.score,
            "gap_to_leader": one.gap,
            "lr": one.lr,
            "also_named": ", ".join(one.also_named),
            "epoch": one.epoch,
            "reason": one.reason,
        }
        for rank, one in enumerate(dropped_of(verdict), start=len(raced) + 1)
    ]
    return raced + searched


def leads_of(verdict: Verdict) -> dict[str, BaselineGap]:
    """Each candidate's lead over the baseline, by name; empty if the verdict has none."""
    answer = verdict.against_baseline
    return {} if answer is None else {gap.name: gap for gap in answer.gaps}


def _lead(gap: BaselineGap | None) -> dict[str, float | bool | None]:
    keys = ("lead_over_baseline", "lead_low", "lead_high", "beats_baseline")
    values = (None,) * 4 if gap is None else (gap.gap, gap.low, gap.high, gap.beats)
    return dict(zip(keys, values, strict=True))


def _speed(speed: Speed | None) -> dict[str, float | None]:
    keys = ("speed", "speed_low", "speed_high")
    values = (None,) * 3 if speed is None else (speed.share, speed.low, speed.high)
    return dict(zip(keys, values, strict=True))


def mark_of(verdict: Verdict, standing: Standing) -> str:
    """Where the verdict leaves a candidate: `winner`, `tied`, `undecided` or `behind`."""
    if standing.name == verdict.winner:
        return "winner"
    if standing.name not in verdict.tie_set:
        return "behind"
    return {"tie": "tied", "undecided": "undecided", "winner": "tied"}[verdict.status]


def write_csv(rows: Sequence[Mapping[str, Any]], path: str | os.PathLike[str]) -> Path:
    """Write rows as CSV, whole or not at all.

    A text that a spreadsheet would take for a formula (`=`, `+`, `-` or `@` comes first) gets an apostrophe
    before it. Numbers are numbers.

    Args:
        rows: At least one row; all with the same keys. None becomes an empty field.
        path: The file; missing folders are made.

    Returns:
        The path that was written.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _csv_cell(value) for key, value in row.items()} for row in rows)
    return write_whole(path, text.getvalue())


def _csv_cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = visible(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def on_other_seeds(verdict: Verdict, standing: Standing) -> bool:
    """Whether a gap rests on other seeds than the means beside it, and so need not be their difference."""
    return standing.scores.keys() != verdict.candidates[0].scores.keys()


def footnotes(verdict: Verdict) -> list[str]:
    """What a reader of the leaderboard has to know, a line each: what the columns are, and their levels."""
    notes = []
    if any(on_other_seeds(verdict, standing) for standing in verdict.candidates):
        notes.append("* gap on the seeds that both have, not the difference of the means")
    if len(verdict.candidates) > 1:
        notes.append(
            f"gap: mean paired difference to the leader, with its {gap_interval_text(verdict)}"
        )
        notes.append("adjusted p: paired t-test, after Holm's correction over all pairs")
    if any(standing.also_named for standing in verdict.candidates):
        notes.append(
            "also: other names of the same scheme, which draw the same weights on this model"
        )
    if rates := verdict.evidence.rates:
        best = ", ".join(f"{rate.scheme} {rate.lr:.3g}" for rate in rates)
        notes.append(f"best learning rate of each scheme that completed the search: {best}")
    notes += [_rate_gap_text(verdict, gap) for gap in verdict.evidence.rate_gaps]
    return notes


def _rate_gap_text(verdict: Verdict, gap: RateGap) -> str:
    """Whether the leader is ahead of another scheme at each other's learning rate too."""
    form = format_of(verdict.metric)
    at_one = ", ".join(f"{form.gap(value)} with both at {lr:.3g}" for lr, value in gap.gaps.items())
    return (
        f"{gap.scheme} against {gap.other} on the search's seeds, which also chose the rates: "
        f"{form.gap(gap.own)}{form.gap_unit} with each at its best rate, {at_one}"
    )


def also_text(standing: Standing) -> str:
    """The other names of a candidate's scheme."""
    return f"also {', '.join(standing.also_named)}"


def gap_interval_text(verdict: Verdict) -> str:
    """What the intervals of gaps are, with their level."""
    level = level_text(verdict.alpha)
    if verdict.status != "tie":
        return f"{level} confidence interval over all looks"
    tied = level_text(2 * verdict.alpha)
    return f"{level} confidence interval over all looks ({tied} for the tied: two one-sided tests)"
