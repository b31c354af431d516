"""What the benchmarks share: interleaved timing, ratios with an interval, tables, records.

On a machine that others use as well, a time says little and a ratio of neighbouring times a lot. So
every benchmark runs its contenders in turn, round after round, in an order that changes, and forms
ratios within a round.
"""

import argparse
import json
import os
import platform
import random
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
import torch
from scipy import stats

from initsearch.files import write_whole

LEVEL = 0.95


@dataclass(frozen=True)
class Cost:
    """What a piece of work took.

    Attributes:
        wall: Seconds that passed.
        cpu: Processor seconds of this process and of the child processes that have ended.
    """

    wall: float
    cpu: float

    def times(self, factor: float) -> "Cost":
        """The cost of so many pieces."""
        return Cost(self.wall * factor, self.cpu * factor)

    def since(self, before: "Cost") -> "Cost":
        """What passed between two readings of `now`."""
        return Cost(self.wall - before.wall, self.cpu - before.cpu)


@dataclass(frozen=True)
class Ratio:
    """An estimated ratio with its 95% interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3g} [{self.low:.3g}, {self.high:.3g}]"


def say(text: str) -> None:
    """Tell on standard error how far it is, with what was measured: a run that is cut short leaves it."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def now() -> Cost:
    """The clocks of this moment; two readings make a cost."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Cost(time.perf_counter(), time.process_time() + ended.ru_utime + ended.ru_stime)


def cost_of(work: Callable[[], object]) -> Cost:
    """Do some work and say what it took."""
    begun = now()
    work()
    return now().since(begun)


def interleave(
    contenders: Mapping[str, Callable[[], object]], rounds: int, warmup: int = 1
) -> dict[str, list[Cost]]:
    """Time contenders in turn, in an order drawn anew each round, and tell how far it is.

    Args:
        contenders: What to do, by name; each call does the same work.
        rounds: Timed rounds.
        warmup: Untimed rounds before them.

    Returns:
        The costs by name, one per round: those of one index were measured next to each other.
    """
    costs: dict[str, list[Cost]] = {name: [] for name in contenders}
    draw = random.Random(0)
    for index in range(warmup + rounds):
        for name in draw.sample(list(contenders), len(contenders)):
            cost = cost_of(contenders[name])
            if index >= warmup:
                costs[name].append(cost)
        say(f"round {index + 1} of {warmup + rounds}, the first {warmup} of them untimed")
    return costs


def ratio(above: Sequence[float], below: Sequence[float]) -> Ratio:
    """The ratio of two contenders, paired by round: a t-interval on the mean log ratio.

    Args:
        above: Numbers above 0, one per round, of the contender above the line.
        below: Those of the other in the same rounds. One round alone gives an infinite interval.
    """
    logs = np.log(np.asarray(above) / np.asarray(below))
    if len(logs) < 2:
        return Ratio(float(np.exp(logs.mean())), 0.0, float("inf"))
    half = stats.t.ppf((1 + LEVEL) / 2, len(logs) - 1) * logs.std(ddof=1) / len(logs) ** 0.5
    low, value, high = np.exp([logs.mean() - half, logs.mean(), logs.mean() + half]).tolist()
    return Ratio(value, low, high)


def ratio_of_means(above: Sequence[float], below: Sequence[float], draws: int = 4000) -> Ratio:
    """The ratio of two unpaired means: a percentile bootstrap interval."""
    generator = np.random.default_rng(0)
    means = [
        generator.choice(np.asarray(values), (draws, len(values))).mean(axis=1)
        for values in (above, below)
    ]
    low, high = np.quantile(means[0] / means[1], [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()
    return Ratio(fmean(above) / fmean(below), low, high)


def walls(costs: Sequence[Cost]) -> list[float]:
    """Wall seconds, one per round."""
    return [cost.wall for cost in costs]


def cpus(costs: Sequence[Cost]) -> list[float]:
    """Processor seconds, one per round."""
    return [cost.cpu for cost in costs]


def typical(costs: Sequence[Cost]) -> Cost:
    """The median cost."""
    return Cost(median(walls(costs)), median(cpus(costs)))


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine() -> dict[str, Any]:
    """Where and when the numbers were measured, and how busy the machine was."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    return {
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "cores": cores(),
        "load at start": round(load, 2),
        "processor": _processor(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; numbers to three significant digits."""
    lines = [headers, ["---"] * len(headers), *([_cell(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def parser(doc: str | None) -> argparse.ArgumentParser:
    """The arguments that all benchmarks have."""
    made = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--quick", action="store_true", help="a smoke run; its numbers say nothing")
    made.add_argument("--rounds", type=int, help="timed rounds (default: the benchmark's own)")
    made.add_argument(
        "--output", type=Path, metavar="STEM", help="also write STEM.json and STEM.md"
    )
    return made


def publish(
    title: str,
    sections: Sequence[tuple[str, str]],
    facts: Mapping[str, Any],
    arguments: argparse.Namespace,
) -> None:
    """Print a report and, where asked, write it as Markdown beside the numbers as JSON.

    Args:
        title: The report's heading.
        sections: Heading and text of each part.
        facts: All numbers, as plain data or dataclasses.
        arguments: The command line, which is recorded.
    """
    where = machine()
    lines = [f"# {title}", "", ", ".join(f"{key}: {value}" for key, value in where.items())]
    if arguments.quick:
        lines += ["", "**A smoke run (`--quick`): these numbers say nothing.**"]
    for heading, text in sections:
        lines += ["", f"## {heading}", text]
    report = "\n".join(lines) + "\n"
    print(report)
    if arguments.output is not None:
        record = {"machine": where, "arguments": vars(arguments), **facts}
        write_whole(f"{arguments.output}.json", json.dumps(record, indent=2, default=_plain) + "\n")
        write_whole(f"{arguments.output}.md", report)


def _plain(value: object) -> object:
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else str(value)


def _cell(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
