"""The verdict as the terminal shows it."""

import math
from pathlib import Path

from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from initsearch.search.verdict import Verdict
from initsearch.tracking.words.dropped import dropped_table
from initsearch.tracking.words.scale import duration_text, scale_of
from initsearch.tracking.words.strength import strength_lines
from initsearch.tracking.words.tables import rich_table


def print_verdict(
    console: Console,
    verdict: Verdict,
    *,
    folder: str | Path | None = None,
    ui: str | None = None,
) -> None:
    """Show a verdict: table, sentence, test scores, where things lie, how to see more.

    Args:
        console: Where to print.
        verdict: What to show.
        folder: The study's folder; None leaves the paths out.
        ui: The command that opens MLflow's pages (see `ui_command`); None leaves it out.
    """
    console.print()
    console.print(rich_table(verdict))
    if (dropped := dropped_table(verdict)) is not None:
        console.print()
        console.print(dropped)
    if verdict.dataset != verdict.requested_dataset:
        console.print()
        console.print(
            Text(
                f"Trained on {verdict.dataset}: {verdict.requested_dataset} was asked for, but could "
                "not be had.",
                style="yellow",
            )
        )
    console.print()
    style = {"winner": "green", "tie": "cyan", "undecided": "yellow"}[verdict.status]
    console.print(Panel(Text(verdict.sentence), title=verdict.status, border_style=style))
    if test := _test_line(verdict):
        console.print(Text(test))
    for what, text in [*strength_lines(verdict), *_further(verdict, folder, ui)]:
        line = Text(f"{what:<8} ", style="dim").append(text, style="not dim")
        # Folded by the console, a path or a command could not be copied.
        console.print(line, soft_wrap=True, highlight=False)


def _further(verdict: Verdict, folder: str | Path | None, ui: str | None) -> list[tuple[str, str]]:
    wall, cpu = duration_text(verdict.wall_seconds), duration_text(verdict.cpu_seconds)
    lines = [("took", f"{wall} ({cpu} of processor time)")]
    if folder is not None:
        path = Path(folder)
        lines.append(("files", f"{path}"))
        if (path / "winner.yaml").is_file():
            lines.append(("use it", f'Trainer(callbacks=[InitCallback("{path / "winner.yaml"}")])'))
    if ui is not None:
        lines.append(("browse", ui))
    return lines


def _test_line(verdict: Verdict) -> str:
    """The scores on the test set in one line; empty where there are none."""
    scale = scale_of("val_accuracy")
    parts = [
        f"{who} {score.name} {scale.text(score.test_accuracy)}{scale.unit}"
        for who, score in verdict.test.items()
        if math.isfinite(score.test_accuracy)
    ]
    return f"On the test set: {'; '.join(parts)}." if parts else ""
