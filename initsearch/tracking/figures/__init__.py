"""A study's figures: the race, the paired gaps, the learning curves, the search."""

from pathlib import Path

from initsearch.files import written_aside
from initsearch.search.verdict import Verdict
from initsearch.tracking.figures.curves import curves_figure as curves_figure
from initsearch.tracking.figures.race import gaps_figure as gaps_figure
from initsearch.tracking.figures.race import race_figure as race_figure
from initsearch.tracking.figures.search import search_figure as search_figure
from initsearch.tracking.history import StudyHistory

__all__ = ["curves_figure", "gaps_figure", "race_figure", "search_figure", "write_figures"]


def write_figures(
    folder: str | Path,
    verdict: Verdict,
    record: StudyHistory | None = None,
    steps_per_epoch: float | None = None,
) -> list[Path]:
    """Write `race.png`, `gaps.png`, `curves.png`, `search.png`: those that have something to show.

    Args:
        folder: Where to; made if missing.
        verdict: Of the study.
        record: What was measured; without it there are neither curves nor the search.
        steps_per_epoch: Turns the steps of curves into epochs; None leaves steps.

    Returns:
        The files that were written, each whole or not at all.
    """
    figures = {"race": race_figure(verdict) if verdict.candidates else None}
    figures["gaps"] = gaps_figure(verdict) if len(verdict.candidates) > 1 else None
    if record is not None:
        figures["curves"] = curves_figure(verdict, record, steps_per_epoch)
        figures["search"] = search_figure(verdict, record)
    written = []
    for name, figure in figures.items():
        if figure is None:
            continue
        file = Path(folder) / f"{name}.png"
        with written_aside(file) as temporary:
            figure.savefig(temporary, format="png")
        written.append(file)
    return written
