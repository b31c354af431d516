"""The verdict as the terminal shows it."""

import math
from pathlib import Path

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from initsearch.errors import visible
from initsearch.search.verdict import HeldOutScore, Verdict
from initsearch.tracking.words.answer import answer_lines
from initsearch.tracking.words.dropped import dropped_table
from initsearch.tracking.words.number_format import (
    duration_text,
    format_of,
    level_text,
)
from initsearch.tracking.words.strength import strength_lines
from initsearch.tracking.words.tables import rich_table
from initsearch.tracking.words.use_it import callback_call
from initsearch.tracking.words.wrap import Wrapped

#: The score on the test set of tasks with images.
IMAGES = "test_accuracy"
_KEYWORD_WIDTH = 8


def print_verdict(
    console: Console,
    verdict: Verdict,
    *,
    folder: str | Path | None = None,
    ui: str | None = None,
) -> None:
    """Show a verdict: tables, sentence, test scores, answers, evidence, where files are, how to see more.

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
        requested = f"{verdict.requested_dataset} was requested, but is not available."
        console.print(_wrapped(f"Trained on {verdict.dataset}: {requested}", "yellow"))
    console.print()
    style = {"winner": "green", "tie": "cyan", "undecided": "yellow"}[verdict.status]
    console.print(Panel(_wrapped(verdict.sentence), title=verdict.status, border_style=style))
    if test := _test_line(verdict):
        console.print(_wrapped(test))
    console.print(_by_keyword([*answer_lines(verdict), *strength_lines(verdict), _took(verdict)]))
    for what, text in _places(verdict, folder, ui):
        line = Text(f"{what:<{_KEYWORD_WIDTH}} ", style="dim").append(
            visible(text), style="not dim"
        )
        # Wrapped by the console, a path or a command could not be copied.
        console.print(line, soft_wrap=True, highlight=False)


def _wrapped(text: str, style: str = "") -> Wrapped:
    return Wrapped(Text(visible(text), style=style))


def _by_keyword(lines: list[tuple[str, str]]) -> Table:
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(style="dim", width=_KEYWORD_WIDTH)
    table.add_column()
    for what, text in lines:
        table.add_row(what, _wrapped(text))
    return table


def _took(verdict: Verdict) -> tuple[str, str]:
    wall, cpu = duration_text(verdict.wall_seconds), duration_text(verdict.cpu_seconds)
    return "took", f"{wall} ({cpu} of processor time)"


def _places(verdict: Verdict, folder: str | Path | None, ui: str | None) -> list[tuple[str, str]]:
    lines = []
    if folder is not None:
        plan = Path(folder) / "winner.yaml"
        lines.append(("files", str(folder)))
        if plan.is_file():
            lines.append(("use it", f"Trainer(callbacks=[{callback_call(verdict, plan)}])"))
    if ui is not None:
        lines.append(("browse", ui))
    return lines


def _test_line(verdict: Verdict) -> str:
    """The scores on the test set in one line; empty if there are none."""
    parts = []
    for who, score in verdict.test.items():
        if math.isfinite(score.test_accuracy):
            form = format_of(score.metric)
            shown = f"{form.text(score.test_accuracy)}{form.unit}{_test_gap(verdict, score)}"
            parts.append(f"{who} {score.name} {shown}")
    if not parts:
        return ""
    metric = next(iter(verdict.test.values())).metric
    named = "" if metric == IMAGES else f" ({metric})"
    return f"On the test set{named}: {'; '.join(parts)}."


def _test_gap(verdict: Verdict, score: HeldOutScore) -> str:
    """A candidate's paired lead over the baseline on the test set, with its interval."""
    if math.isnan(score.gap):
        return ""
    form = format_of(score.metric)
    text = f"{form.gap(score.gap)}{form.gap_unit} to {verdict.baseline}"
    if math.isfinite(score.gap_low):
        interval = form.gap_interval(score.gap_low, score.gap_high)
        text += f", {level_text(verdict.alpha)} interval {interval}"
    return f" ({text})"
