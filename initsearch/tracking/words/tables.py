"""The leaderboard as rows, as a CSV file, as Markdown and as a table for the terminal."""

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from initsearch.files import write_whole
from initsearch.search.verdict import Standing, Verdict
from initsearch.tracking.words.dropped import dropped_of
from initsearch.tracking.words.scale import Scale, p_text, scale_of


def leaderboard_rows(verdict: Verdict) -> list[dict[str, Any]]:
    """A row per candidate, best first, in units of the metric as in `verdict.json`.

    Those of the race come first. Behind them stand those that only the search trained, with the mean over
    its seeds at the epoch where they ended, and their gap to the leader at that epoch.

    Returns:
        Rows with `rank` (from 1), `candidate`, `scheme`, `mark` (see `mark_of`; `pruned`, `diverged`,
        `failed` or `complete` for those of the search), `baseline`, `mean`, `ci_low`, `ci_high`,
        `std`, `gap_to_leader`, `p_value`, `n_seeds`, `diverged`, `dropped_at`, `lr`, `plan` (JSON),
        `epoch` (of the search, where it ended) and `reason`.
    """
    raced = [
        {
            "rank": rank,
            "candidate": standing.name,
            "scheme": standing.scheme,
            "mark": mark_of(verdict, standing),
            "baseline": standing.name == verdict.baseline,
            "mean": standing.mean,
            "ci_low": standing.ci_low,
            "ci_high": standing.ci_high,
            "std": standing.std,
            "gap_to_leader": standing.gap_to_leader,
            "p_value": standing.p_value,
            "n_seeds": standing.n_seeds,
            "diverged": standing.diverged,
            "dropped_at": standing.dropped_at,
            "lr": standing.lr,
            "plan": json.dumps(standing.plan, sort_keys=True, default=str),
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
            "mean": one.score,
            "gap_to_leader": one.gap,
            "epoch": one.epoch,
            "reason": one.reason,
        }
        for rank, one in enumerate(dropped_of(verdict), start=len(raced) + 1)
    ]
    return raced + searched


def mark_of(verdict: Verdict, standing: Standing) -> str:
    """Where the verdict leaves a candidate: `winner`, `tied`, `undecided` or `behind`."""
    if standing.name == verdict.winner:
        return "winner"
    if standing.name not in verdict.tie_set:
        return "behind"
    return {"tie": "tied", "undecided": "undecided", "winner": "tied"}[verdict.status]


def write_csv(rows: Sequence[Mapping[str, Any]], path: str | os.PathLike[str]) -> Path:
    """Write rows as CSV, whole or not at all (a temporary file that is moved into place).

    Args:
        rows: At least one row; all with the same keys. None becomes an empty field.
        path: The file; missing folders are made.

    Returns:
        The path that was written.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return write_whole(path, text.getvalue())


def markdown_table(verdict: Verdict, limit: int | None = None) -> str:
    """The leaderboard as a Markdown table, accuracies in percent.

    Args:
        verdict: The verdict to show.
        limit: At most so many candidates; a last line says how many more there are. None shows all.
    """
    header = _header(verdict)
    shown = verdict.candidates[:limit]
    lines = [_markdown_row(header), _markdown_row(["---", "---", *["---:"] * (len(header) - 2)])]
    lines += [_markdown_row(cells) for cells in (_cells(verdict, s) for s in shown)]
    if len(shown) < len(verdict.candidates):
        lines.append(f"\n… and {len(verdict.candidates) - len(shown)} more")
    return "\n".join(lines)


def rich_table(verdict: Verdict) -> Table:
    """The leaderboard for the terminal, accuracies in percent, the winner (or the tied) in bold.

    It fits 80 columns: which candidate is the framework's default and which diverged stands below its
    name.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    *headings, _ = _header(verdict)
    for number, heading in enumerate(headings):
        left = number < 2
        table.add_column(
            _two_lines(heading),
            justify="left" if left else "right",
            vertical="top",
            no_wrap=number > 0,
            overflow="fold",
        )
    for standing in verdict.candidates:
        mark = mark_of(verdict, standing)
        style = {"winner": "bold green", "tied": "bold", "undecided": "", "behind": "dim"}[mark]
        _, *cells, _ = _cells(verdict, standing)
        name = Text(standing.name)
        if standing.name == verdict.baseline:
            name.append("\n  the default", style="not bold dim")
        if standing.diverged:
            lost = f"\n  {standing.diverged} of {standing.n_seeds} diverged"
            name.append(lost, style="not bold dim")
        table.add_row(name, *(Text(cell) for cell in cells), style=style)
    return table


def _two_lines(heading: str) -> str:
    """A heading broken before its last word but one, where its unit stands: columns stay narrow."""
    words = heading.split(" ")
    cut = max(1, len(words) - (2 if len(words) > 2 else 1))
    return " ".join(words[:cut]) + ("\n" + " ".join(words[cut:]) if words[cut:] else "")


def _header(verdict: Verdict) -> list[str]:
    scale = scale_of(verdict.metric)
    unit = scale.gap_unit.strip()
    return [
        "candidate",
        "verdict",
        scale.label,
        "interval",
        f"gap ({unit})" if unit else "gap",
        "p",
        "seeds",
        "diverged",
    ]


def _cells(verdict: Verdict, standing: Standing) -> list[str]:
    scale: Scale = scale_of(verdict.metric)
    default = " (default)" if standing.name == verdict.baseline else ""
    mark = mark_of(verdict, standing)
    leads = standing.name == verdict.candidates[0].name
    return [
        f"{standing.name}{default}",
        mark,
        scale.text(standing.mean),
        f"{scale.text(standing.ci_low)}…{scale.text(standing.ci_high)}",
        "" if leads else scale.text(standing.gap_to_leader),
        p_text(standing.p_value),
        str(standing.n_seeds),
        str(standing.diverged) if standing.diverged else "",
    ]


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
