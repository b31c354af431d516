"""The figures of a study, as files."""

from pathlib import Path

from initsearch.files import written_aside
from initsearch.search.verdict import Verdict
from initsearch.tracking.figures.curves import curves_figure
from initsearch.tracking.figures.race import gaps_figure, race_figure
from initsearch.tracking.figures.search import search_figure
from initsearch.tracking.history import StudyHistory


def write_figures(
    folder: str | Path,
    verdict: Verdict,
    history: StudyHistory | None = None,
    steps_per_epoch: float | None = None,
) -> list[Path]:
    """Write `race.png`, `gaps.png`, `curves.png`, `search.png`: those that have something to show.

    Args:
        folder: The target; made if missing.
        verdict: The study's verdict.
        history: What was measured; without it there are neither curves nor the search.
        steps_per_epoch: Turns the steps of curves into epochs; None leaves steps.

    Returns:
        The files that were written, each whole or not at all.
    """
    figures = {"race": race_figure(verdict) if verdict.candidates else None}
    figures["gaps"] = gaps_figure(verdict) if len(verdict.candidates) > 1 else None
    if history is not None:
        figures["curves"] = curves_figure(verdict, history, steps_per_epoch)
        figures["search"] = search_figure(verdict, history)
    written = []
    for name, figure in figures.items():
        if figure is None:
            continue
        path = Path(folder) / f"{name}.png"
        with written_aside(path) as temporary:
            figure.savefig(temporary, format="png")
        written.append(path)
    return written
