"""The leaderboard as a table: in Markdown, and for the terminal."""

import re
from collections.abc import Iterable

from rich.table import Table
from rich.text import Text

from initsearch.search.verdict import Standing, Verdict
from initsearch.tracking.words.escape import visible
from initsearch.tracking.words.leaderboard import footnotes, mark_of, on_other_seeds
from initsearch.tracking.words.number_format import format_of, level_text, p_text
from initsearch.tracking.words.wrap import Wrapped


def markdown_table(verdict: Verdict, limit: int | None = None) -> str:
    """The leaderboard as a Markdown table, accuracies in percent.

    Args:
        verdict: The verdict to show.
        limit: The largest number of candidates; a last line says how many more there are. None shows all.
    """
    header = _header(verdict)
    shown = verdict.candidates[:limit]
    lines = [_markdown_row(header), _markdown_row(["---", "---", *["---:"] * (len(header) - 2)])]
    lines += [_markdown_row(map(markdown_text, _cells(verdict, s))) for s in shown]
    if len(shown) < len(verdict.candidates):
        lines.append(f"\n… and {len(verdict.candidates) - len(shown)} more")
    lines += [f"\n{markdown_text(line)}" for line in footnotes(verdict)]
    return "\n".join(lines)


def markdown_text(text: str) -> str:
    """A text that Markdown shows as it is."""
    return re.sub(r"([\\`*\[\]<>|])", r"\\\1", visible(text))


def rich_table(verdict: Verdict) -> Table:
    """The leaderboard for the terminal, accuracies in percent, the winner (or the tied) in bold.

    It fits 80 columns: a line below a candidate's name says that it is the framework's default, or that it
    diverged.
    """
    table = Table(
        box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim",
        caption="\n".join(footnotes(verdict)) or None, caption_justify="left", caption_style="dim",
    )  # fmt: skip
    *headings, _ = _header(verdict)
    for number, heading in enumerate(headings):
        table.add_column(
            _two_lines(heading),
            justify="left" if number < 2 else "right",
            vertical="top",
            no_wrap=number > 0,
        )
    for standing in verdict.candidates:
        mark = mark_of(verdict, standing)
        style = {"winner": "bold green", "tied": "bold", "undecided": "", "behind": "dim"}[mark]
        _, *cells, _ = _cells(verdict, standing)
        name = Text(visible(standing.name))
        if standing.name == verdict.baseline:
            name.append("\n  the default", style="not bold dim")
        if standing.diverged:
            lost = f"\n  {standing.diverged} of {standing.n_seeds} diverged"
            name.append(lost, style="not bold dim")
        table.add_row(Wrapped(name), *(Text(cell) for cell in cells), style=style)
    return table


def _two_lines(heading: str) -> str:
    """A heading broken before its last word, or before its unit: columns stay narrow."""
    words = heading.split(" ")
    cut = max(1, len(words) - (2 if heading.endswith(")") and len(words) > 2 else 1))
    return " ".join(words[:cut]) + ("\n" + " ".join(words[cut:]) if words[cut:] else "")


def _header(verdict: Verdict) -> list[str]:
    form = format_of(verdict.metric)
    unit = form.gap_unit.strip()
    return [
        "candidate",
        "verdict",
        form.label,
        f"{level_text(verdict.alpha)} interval",
        f"gap ({unit})" if unit else "gap",
        "p",
        "seeds",
        "diverged",
    ]


def _cells(verdict: Verdict, standing: Standing) -> list[str]:
    form = format_of(verdict.metric)
    default = " (default)" if standing.name == verdict.baseline else ""
    leads = standing.name == verdict.candidates[0].name
    star = "*" if on_other_seeds(verdict, standing) else ""
    return [
        f"{standing.name}{default}",
        mark_of(verdict, standing),
        form.text(standing.mean),
        form.interval(standing.ci_low, standing.ci_high),
        "" if leads else f"{form.text(standing.gap_to_leader)}{star}",
        p_text(standing.p_value),
        str(standing.n_seeds),
        str(standing.diverged) if standing.diverged else "",
    ]


def _markdown_row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"
