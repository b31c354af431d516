"""What the terminal shows while a study runs: a progress bar, or now and then a line."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Self

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from initsearch.errors import visible
from initsearch.tracking.words.number_format import duration_text


class SearchProgress:
    """A progress bar in a terminal; in a file or a pipe, a line from time to time.

    Implements `initsearch.search.tracker.Progress`. The bar and the time left are those of the whole study:
    of all phases that were announced by `plan`, each at its most. The pace is that of what was trained in this
    run. Results that a resumed study finds on disk, and candidates that are dropped, move the bar, but do not
    count for the pace.

    Args:
        console: Where to show it; None for the standard error stream, which keeps a redirected standard
            output free of it.
        every: Seconds between two lines where there is no terminal.
        clock: Returns the time in seconds.

    Example:
        >>> with SearchProgress() as progress:
        ...     progress.plan({"search": 24, "race": 48})
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
        self._lock = threading.Lock()
        self._to_come: dict[str, float] = {}  # phases that have not begun, with their work
        self._phase = ""
        self._trained = 0.0  # candidate-epochs of this run
        self._began = self._last_line = clock()
        self._display = _Display(
            TextColumn("{task.description}", style="bold", markup=False),
            BarColumn(bar_width=30),
            TextColumn("{task.percentage:3.0f} %", markup=False),
            _TimeLeftColumn(self),
            console=self.console,
            refresh_per_second=4,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self._task = self._display.add_task("", total=None, training="")

    def __enter__(self) -> Self:
        self._display.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._display.stop()

    def plan(self, work: Mapping[str, float]) -> None:
        """Announce the phases to come, each with its work at most, in candidate-epochs."""
        self._to_come = dict(work)

    def phase(self, name: str, total: float) -> None:
        """Begin a phase (`search`, `race`, ...) of at most `total` candidate-epochs.

        `total` replaces what was announced for the phase. What earlier phases did not need is left out.
        """
        if not self._phase:
            self._began = self._last_line = self._clock()
        phases = [*self._to_come]
        later = phases[phases.index(name) + 1 :] if name in phases else phases
        self._to_come = {phase: self._to_come[phase] for phase in later}
        self._phase = name
        work = self._state.completed + total + sum(self._to_come.values())
        self._display.update(self._task, description=name, total=work, training="")
        if self._display.disable:
            self.message(f"{name}: at most {_count(total)} candidate-epochs")

    def training(self, what: str) -> None:
        """Show what is being trained now."""
        self._display.update(self._task, training=visible(what))

    def advance(self, amount: float) -> None:
        """Count `amount` candidate-epochs as trained."""
        self._move(amount, trained=amount)

    def skip(self, amount: float) -> None:
        """Count `amount` candidate-epochs as done that need no training in this run."""
        self._move(amount, trained=0.0)

    def message(self, text: str) -> None:
        """Print a line that stays: a fallback, a worker that was started again."""
        self.console.print(Text(visible(text)), soft_wrap=True, highlight=False)

    @property
    def seconds_left(self) -> float | None:
        """Seconds to the end of the study at most, at the pace so far; None before there is a pace."""
        if self._trained <= 0:
            return None
        return (self._clock() - self._began) * (self._state.remaining or 0.0) / self._trained

    @property
    def _state(self) -> Task:
        return self._display.tasks[self._task]

    def _move(self, amount: float, trained: float) -> None:
        with self._lock:  # workers' threads report as well
            self._trained += trained
            state = self._state
            room = amount if state.total is None else state.total - state.completed
            self._display.advance(self._task, min(amount, room))
            now = self._clock()
            if self._display.disable and now - self._last_line >= self._every:
                self._last_line = now
                self.message(self._line())

    def _line(self) -> str:
        state = self._state
        parts = [f"{self._phase}: {state.percentage:.0f} %", _share(state)]
        if (left := self.seconds_left) is not None:
            parts.append(_left(left))
        if state.fields["training"]:
            parts.append(state.fields["training"])
        return ", ".join(parts)


class _Display(Progress):
    """Rich's progress with a second line: how much is done, and what is being trained."""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield self.make_tasks_table(self.tasks)
        for task in self.tasks:
            below = "  ".join(text for text in (_share(task), task.fields["training"]) if text)
            yield Text(below, style="dim", no_wrap=True, overflow="ellipsis")


class _TimeLeftColumn(ProgressColumn):
    """The time left for the whole study."""

    max_refresh = 0.5  # seconds

    def __init__(self, progress: SearchProgress) -> None:
        self._progress = progress
        super().__init__()

    def render(self, task: Task) -> Text:
        left = self._progress.seconds_left
        return Text("" if left is None else _left(left), style="cyan")


def _share(task: Task) -> str:
    """How much of the study is done."""
    if not task.total:
        return ""
    return f"{_count(task.completed)} of {_count(task.total)} candidate-epochs"


def _left(seconds: float) -> str:
    return f"at most {duration_text(seconds)} left"


def _count(epochs: float) -> str:
    return f"{epochs:,.0f}" if epochs >= 100 else f"{epochs:.3g}"
