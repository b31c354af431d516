"""`InitFindResult`: what `init_find` returns."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from initsearch.plan import InitPlan
from initsearch.search.verdict import Verdict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Columns of the verdict as text.
WIDTH = 110


@dataclass(frozen=True)
class InitFindResult:
    """What a search found; printed, it is the table of candidates with the verdict.

    Attributes:
        verdict: Winner, tie or undecided, with every candidate's scores and the evidence.
        folder: The study's folder: `verdict.json`, `winner.yaml`, `leaderboard.csv` and figures.
    """

    verdict: Verdict
    folder: Path

    def suggestion(self) -> InitPlan:
        """The plan to take.

        That of the winner. In a tie, the baseline if it is part of it, else the simplest. Undecided, the
        baseline, unless it is beaten.
        """
        return InitPlan.from_spec(self.verdict.to_take.plan)

    @property
    def suggested(self) -> str:
        """The name of the candidate whose plan is suggested."""
        return self.verdict.to_take.name

    @property
    def results(self) -> list[dict[str, Any]]:
        """The leaderboard: a row per candidate, best first; see `leaderboard.csv`."""
        from initsearch.tracking.words.leaderboard import leaderboard_rows

        return leaderboard_rows(self.verdict)

    def plot(self) -> "Figure":
        """The race: each candidate's mean with its interval and its seeds."""
        from initsearch.tracking.figures.race import race_figure

        return race_figure(self.verdict)

    def __str__(self) -> str:
        from initsearch.tracking import print_verdict

        text = io.StringIO()
        print_verdict(Console(file=text, width=WIDTH), self.verdict, folder=self.folder)
        return text.getvalue().strip("\n")
