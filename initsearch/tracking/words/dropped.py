"""Candidates that the search trained and the race did not: where they ended, and how far behind."""

import math
from dataclasses import dataclass
from typing import Any

from rich.table import Table
from rich.text import Text

from initsearch.search.verdict import Verdict
from initsearch.tracking.words.scale import scale_of

#: More lines than these are left to the leaderboard file.
SHOWN = 8


@dataclass(frozen=True)
class Dropped:
    """A candidate that did not enter the race.

    Attributes:
        name: Its name.
        scheme: Its scheme family.
        status: `pruned`, `diverged`, `failed`, or `complete` for one whose scheme had a better candidate.
        reason: Why it ended, in plain words.
        epoch: Where it was measured last.
        score: Its mean score there, over the search's seeds; NaN where it has none.
        gap: How much better the race's leader was at that epoch, on the same seeds; NaN where not known.
    """

    name: str
    scheme: str
    status: str
    reason: str
    epoch: float
    score: float
    gap: float


def dropped_of(verdict: Verdict) -> list[Dropped]:
    """Those that did not enter the race, from what the verdict keeps of the search, best first."""
    rows = {row.name: row for row in verdict.evidence.search}
    first = rows.get(verdict.candidates[0].name)
    leader = {} if first is None else first.scores
    sign = 1 if verdict.higher_is_better else -1
    dropped = []
    for row in rows.values():
        if row.raced:
            continue
        gap = sign * (leader.get(row.epoch, math.nan) - row.score)
        dropped.append(
            Dropped(row.name, row.scheme, row.status, row.reason, row.epoch, row.score, gap)
        )
    return sorted(dropped, key=lambda d: (-d.epoch, math.isnan(d.gap), d.gap))


def dropped_table(verdict: Verdict) -> Table | None:
    """The candidates that did not enter the race, for the terminal; None where all did."""
    dropped = dropped_of(verdict)
    if not dropped:
        return None
    scale = scale_of(verdict.metric)
    table = Table(
        box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim", style="dim",
        title="not in the race: scores of the search", title_justify="left", title_style="dim",
    )  # fmt: skip
    score = f"score ({scale.unit.strip()})" if scale.unit else "score"
    for heading in ("candidate", "", "epoch", score, "behind the leader there"):
        left = heading in ("candidate", "")
        table.add_column(heading, justify="left" if left else "right", no_wrap=not left)
    for one in dropped[:SHOWN]:
        cells = [one.name, one.status, f"{one.epoch:g}", _text(scale.text, one.score)]
        table.add_row(*map(Text, cells), Text(_text(scale.text, one.gap)))
    if len(dropped) > SHOWN:
        table.add_row(Text(f"… and {len(dropped) - SHOWN} more in leaderboard.csv"))
    return table


def _text(show: Any, value: float) -> str:
    return "" if math.isnan(value) else str(show(value))
