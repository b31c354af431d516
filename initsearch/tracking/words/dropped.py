"""Candidates that the search trained and the race did not: where they ended, and how far behind."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from initsearch.errors import visible
from initsearch.search.verdict import SearchRow, Verdict
from initsearch.tracking.words.number_format import NumberFormat, format_of
from initsearch.tracking.words.wrap import Wrapped

#: So many are shown in the terminal; the leaderboard file has all.
SHOWN = 8


@dataclass(frozen=True)
class Dropped:
    """A candidate that did not enter the race.

    Attributes:
        name: Its name.
        scheme: Its scheme family.
        status: `pruned`, `diverged`, `failed`, or `complete` for one whose scheme had a better candidate.
        reason: Why it ended, in plain words.
        epoch: Where it was last measured.
        score: Its mean score there, over the search's seeds; NaN if it has none.
        gap: How much better the race's leader was at that epoch, on the same seeds; NaN if not known.
        lr: Its learning rate; None if the task has none.
        also_named: Names of candidates that start from the same weights at the same learning rate; they are not
            listed on their own.
    """

    name: str
    scheme: str
    status: str
    reason: str
    epoch: float
    score: float
    gap: float
    lr: float | None
    also_named: tuple[str, ...]


def dropped_of(verdict: Verdict) -> list[Dropped]:
    """The candidates that did not enter the race, from the verdict's evidence, best first."""
    rows = {row.name: row for row in verdict.evidence.search}
    first = rows.get(verdict.candidates[0].name)
    leader = {} if first is None else first.scores
    sign = 1 if verdict.higher_is_better else -1
    dropped = []
    for row in rows.values():
        if row.raced or row.twin_of is not None:
            continue
        gap = sign * (leader.get(row.epoch, math.nan) - row.score)
        dropped.append(
            Dropped(
                name=row.name,
                scheme=row.scheme,
                status=row.status,
                reason=row.reason,
                epoch=row.epoch,
                score=row.score,
                gap=gap,
                lr=row.lr,
                also_named=tuple(_twin_names(row, rows.values())),
            )
        )
    return sorted(dropped, key=lambda d: (-d.epoch, math.isnan(d.gap), d.gap))


def _twin_names(row: SearchRow, rows: Iterable[SearchRow]) -> Iterator[str]:
    """The names of a candidate's twins, without those that were proposed again under its own name."""
    for twin in rows:
        if twin.twin_of == row.number and not twin.name.startswith(f"{row.name} #"):
            yield twin.name


def dropped_table(verdict: Verdict) -> Table | None:
    """The candidates that did not enter the race, for the terminal; None if all did."""
    dropped = dropped_of(verdict)
    if not dropped:
        return None
    form = format_of(verdict.metric)
    table = Table(
        box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim", style="dim",
        title="not in the race: scores of the search", title_justify="left", title_style="dim",
    )  # fmt: skip
    score = f"score ({form.unit.strip()})" if form.unit else "score"
    gap = f"gap ({form.gap_unit.strip()})" if form.gap_unit else "gap"
    for heading in ("candidate", "", "epoch", score, gap):
        left = heading in ("candidate", "")
        table.add_column(
            heading, justify="left" if left else "right", no_wrap=heading != "candidate"
        )
    for one in dropped[:SHOWN]:
        cells = [one.status, f"{one.epoch:.3g}", _text(form, one.score), _text(form, one.gap)]
        table.add_row(Wrapped(Text(visible(one.name))), *map(Text, cells))
    if len(dropped) > SHOWN:
        table.add_row(Text(f"… and {len(dropped) - SHOWN} more in leaderboard.csv"))
    return table


def _text(form: NumberFormat, value: float) -> str:
    return "" if math.isnan(value) else form.text(value)
