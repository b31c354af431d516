"""What a search shows in the terminal: its progress, and the verdict in the end."""

import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from initsearch.search.verdict import Verdict
from initsearch.tracking.words.dropped import dropped_table
from initsearch.tracking.words.scale import Scale, scale_of
from initsearch.tracking.words.strength import strength_lines
from initsearch.tracking.words.tables import rich_table

# Names that the scores on the test set go by in `Verdict.test`, the first that is there is shown.
_TEST_SCORES = ("test_accuracy", "accuracy", "mean", "score")


class SearchProgress:
    """A progress bar for a terminal; for a file or a pipe, now and then a line.

    Implements `initsearch.search.progress.Progress`. It goes to the standard error stream unless
    another console is given, so that a redirected standard output holds results alone.

    Args:
        console: Where to show it; None for the standard error stream.
        every: Seconds between two lines where there is no terminal.
        clock: Gives the time in seconds.

    Example:
        >>> with SearchProgress() as progress:
        ...     progress.phase("search", total=24)
        ...     progress.training("he_normal and 7 more, rung 1, seed 0")
        ...     progress.advance(8)
    """

    def __init__(
        self,
        console: Console | None = None,
        *,
        every: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.console = Console(stderr=True) if console is None else console
        self._every = every
        self._clock = clock
        self._phase, self._training = "", ""
        self._total, self._done = 0.0, 0.0
        self._began = self._said = clock()
        self._live = (
            Live(
                console=self.console, refresh_per_second=4, transient=True, get_renderable=self._bar
            )
            if self.console.is_terminal
            else None
        )

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def phase(self, name: str, total: float) -> None:
        """Begin a phase (`search`, `race`, ...) of at most `total` candidate-epochs."""
        self._phase, self._training = name, ""
        self._total, self._done = total, 0.0
        self._began = self._said = self._clock()
        if self._live is None:
            self.message(f"{name}: at most {_count(total)} candidate-epochs")

    def training(self, what: str) -> None:
        """Show what is being trained now."""
        self._training = what

    def advance(self, amount: float) -> None:
        """Count `amount` candidate-epochs as done."""
        self._done += amount
        now = self._clock()
        if self._live is None and now - self._said >= self._every:
            self._said = now
            self.message(self._line())

    def message(self, text: str) -> None:
        """Print a line that stays: a fallback taken, a worker started again."""
        self.console.print(Text(text), soft_wrap=True, highlight=False)

    @property
    def seconds_left(self) -> float | None:
        """Seconds to the phase's end at its pace so far; None before there is a pace."""
        if self._done <= 0 or self._total <= 0:
            return None
        elapsed = self._clock() - self._began
        return max(0.0, elapsed * (self._total - self._done) / self._done)

    def _share(self) -> float:
        return 0.0 if self._total <= 0 else min(1.0, self._done / self._total)

    def _line(self) -> str:
        parts = [
            f"{self._phase}: {100 * self._share():.0f} %",
            f"{_count(self._done)} of {_count(self._total)} candidate-epochs",
        ]
        if (left := self.seconds_left) is not None:
            parts.append(f"{_duration(left)} left")
        if self._training:
            parts.append(self._training)
        return ", ".join(parts)

    def _bar(self) -> Group:
        left = self.seconds_left
        grid = Table.grid(padding=(0, 1))
        for width in (None, 30, None, None):
            grid.add_column(no_wrap=True, width=width)
        grid.add_row(
            Text(self._phase, style="bold"),
            ProgressBar(total=1.0, completed=self._share(), width=30),
            Text(f"{100 * self._share():3.0f} %"),
            Text("" if left is None else f"{_duration(left)} left", style="cyan"),
        )
        steps = f"{_count(self._done)} of {_count(self._total)} candidate-epochs"
        what = f"  {self._training}" if self._training else ""
        below = Text(f"{steps}{what}", style="dim", no_wrap=True, overflow="ellipsis")
        return Group(grid, below)


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
    wall, cpu = _duration(verdict.wall_seconds), _duration(verdict.cpu_seconds)
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
    parts = []
    for who, scores in verdict.test.items():
        if not isinstance(scores, dict) or (who == "leader" and verdict.test.get("winner")):
            continue
        key = next((key for key in _TEST_SCORES if isinstance(scores.get(key), float)), None)
        if key is not None:
            parts.append(_test_part(who, scores.get("name"), scores[key], scale))
    return f"On the test set: {'; '.join(parts)}." if parts else ""


def _test_part(who: str, name: str | None, score: float, scale: Scale) -> str:
    called = f"{who} {name}" if name else who
    return f"{called} {scale.text(score)}{scale.unit}"


def _count(epochs: float) -> str:
    return f"{epochs:,.0f}" if epochs >= 100 else f"{epochs:.3g}"


def _duration(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02d} h"
