"""The leaderboard as a table: in Markdown, and for the terminal."""

import re
from collections.abc import Iterable

from rich.table import Table
from rich.text import Text

from initsearch.errors import visible
from initsearch.search.verdict import Standing, Verdict
from initsearch.tracking.words.answer import failure_text
from initsearch.tracking.words.leaderboard import (
    also_text,
    footnotes,
    leads_of,
    mark_of,
    on_other_seeds,
)
from initsearch.tracking.words.number_format import format_of, level_text, p_text
from initsearch.tracking.words.wrap import Wrapped


def markdown_table(verdict: Verdict, limit: int | None = None) -> str:
    """The leaderboard as a Markdown table, accuracies in percent.

    Args:
        verdict: The verdict to show.
        limit: The largest number of candidates; a last line says how many more there are. None shows all.
    """
    shown = verdict.candidates[:limit]
    rows = [_cells(verdict, standing) for standing in shown]
    header = [*rows[0]]
    lines = [_markdown_row(header), _markdown_row(["---", "---", *["---:"] * (len(header) - 2)])]
    lines += [_markdown_row(map(markdown_text, row.values())) for row in rows]
    if len(shown) < len(verdict.candidates):
        lines.append(f"\n… and {len(verdict.candidates) - len(shown)} more")
    lines += [f"\n{markdown_text(line)}" for line in footnotes(verdict)]
    return "\n".join(lines)


def markdown_text(text: str) -> str:
    """A text that Markdown shows as it is."""
    return re.sub(r"([\\`*\[\]<>|])", r"\\\1", visible(text))


def rich_table(verdict: Verdict) -> Table:
    """The leaderboard for the terminal, accuracies in percent, the winner (or the tied) in bold.

    It fits 80 columns: lines below a candidate's name say that it is the framework's default, that it is the
    one to take, or that it diverged.
    """
    table = Table(
        box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim",
        caption="\n".join(footnotes(verdict)) or None, caption_justify="left", caption_style="dim",
    )  # fmt: skip
    rows = [_cells(verdict, standing) for standing in verdict.candidates]
    headings = [heading for heading in rows[0] if heading not in _wide(verdict)]
    for number, heading in enumerate(headings):
        table.add_column(
            _two_lines(heading),
            justify="left" if number < 2 else "right",
            vertical="top",
            no_wrap=number > 0,
        )
    for standing, row in zip(verdict.candidates, rows, strict=True):
        mark = mark_of(verdict, standing)
        style = {"winner": "bold green", "tied": "bold", "undecided": "", "behind": "dim"}[mark]
        name = Text(visible(standing.name))
        for remark in _remarks(verdict, standing):
            name.append(f"\n  {remark}", style="not bold dim")
        cells = [row[heading] for heading in headings[1:]]
        table.add_row(Wrapped(name), *(Text(cell) for cell in cells), style=style)
    return table


def _remarks(verdict: Verdict, standing: Standing) -> list[str]:
    """What the terminal says below a candidate's name."""
    remarks = []
    if standing.also_named:
        remarks.append(also_text(standing))
    if standing.name == verdict.baseline:
        remarks.append("the default")
    if standing.name == verdict.recommended and standing.name != verdict.winner:
        remarks.append("to take")
    if standing.diverged:
        remarks.append(f"{standing.diverged} of {standing.n_seeds} diverged")
    return remarks


def _two_lines(heading: str) -> str:
    """A heading broken before its last word, or before its unit: columns stay narrow."""
    words = heading.split(" ")
    cut = max(1, len(words) - (2 if heading.endswith(")") and len(words) > 2 else 1))
    return " ".join(words[:cut]) + ("\n" + " ".join(words[cut:]) if words[cut:] else "")


def _cells(verdict: Verdict, standing: Standing) -> dict[str, str]:
    """A row by its columns' headings."""
    form = format_of(verdict.metric)
    unit = f" ({form.gap_unit.strip()})" if form.gap_unit else ""
    leads = standing.name == verdict.candidates[0].name
    star = "*" if on_other_seeds(verdict, standing) else ""
    default = " (default)" if standing.name == verdict.baseline else ""
    also = f" ({also_text(standing)})" if standing.also_named else ""
    mean_interval, lead, diverged = _wide(verdict)
    over = leads_of(verdict).get(standing.name)
    return {
        "candidate": f"{standing.name}{also}{default}",
        "verdict": mark_of(verdict, standing),
        form.label: form.text(standing.mean),
        mean_interval: form.interval(standing.ci_low, standing.ci_high),
        f"gap{unit}": "" if leads else f"{form.text(standing.gap_to_leader)}{star}",
        "gap interval": "" if leads else form.gap_interval(standing.gap_low, standing.gap_high),
        "adjusted p": p_text(standing.p_adjusted),
        "seeds": str(standing.n_seeds),
        lead: f"{form.gap(over.gap)} [{form.gap_interval(over.low, over.high)}]" if over else "",
        diverged: failure_text(standing).partition(" diverged on ")[2] if standing.diverged else "",
    }


def _wide(verdict: Verdict) -> tuple[str, str, str]:
    """Headings of the columns that the terminal has no room for."""
    unit = format_of(verdict.metric).gap_unit.strip()
    return (
        f"{level_text(verdict.alpha)} interval of the mean",
        "lead over the default" + (f" ({unit})" if unit else ""),
        "diverged",
    )


def _markdown_row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"
