"""The parts that the benchmarks share: interleaved timing, ratios with intervals, tables, records.

On a shared machine, absolute times vary more than ratios of times measured side by side. Every
benchmark therefore runs its contenders in turn, in a new random order each round, and takes ratios
within a round.
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
    """The time that some work took.

    Attributes:
        wall: Wall-clock seconds.
        cpu: CPU seconds of this process and of its child processes that have ended.
    """

    wall: float
    cpu: float

    def times(self, factor: float) -> "Cost":
        """The cost of `factor` times the work."""
        return Cost(self.wall * factor, self.cpu * factor)

    def since(self, before: "Cost") -> "Cost":
        """The time between two readings of `now`."""
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
    """Report progress and intermediate results on standard error, where an interrupted run leaves them."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def now() -> Cost:
    """Read the clocks; `since` turns two readings into a cost."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Cost(time.perf_counter(), time.process_time() + ended.ru_utime + ended.ru_stime)


def cost_of(work: Callable[[], object]) -> Cost:
    """Do some work and return what it took."""
    begun = now()
    work()
    return now().since(begun)


def interleave(
    contenders: Mapping[str, Callable[[], object]], rounds: int, warmup: int = 1
) -> dict[str, list[Cost]]:
    """Time contenders in turn, in a new random order each round, and report progress.

    Args:
        contenders: The functions to time, by name; each call does the same work.
        rounds: Timed rounds.
        warmup: Untimed rounds before them.

    Returns:
        The costs by name, one per round. Costs of one round were measured side by side.
    """
    costs: dict[str, list[Cost]] = {name: [] for name in contenders}
    draw = random.Random(0)
    for index in range(warmup + rounds):
        for name in draw.sample(list(contenders), len(contenders)):
            cost = cost_of(contenders[name])
            if index >= warmup:
                costs[name].append(cost)
        say(f"round {index + 1} of {warmup + rounds}, the first {warmup} untimed")
    return costs


def ratio(above: Sequence[float], below: Sequence[float]) -> Ratio:
    """The ratio of two contenders, paired by round, with a t-interval on the mean log ratio.

    Args:
        above: Positive numbers of the numerator, one per round.
        below: Those of the denominator in the same rounds.

    Returns:
        The geometric mean of the ratios and its interval, which is infinite for a single round.
    """
    logs = np.log(np.asarray(above) / np.asarray(below))
    if len(logs) < 2:
        return Ratio(float(np.exp(logs.mean())), 0.0, float("inf"))
    half = stats.t.ppf((1 + LEVEL) / 2, len(logs) - 1) * logs.std(ddof=1) / len(logs) ** 0.5
    low, value, high = np.exp([logs.mean() - half, logs.mean(), logs.mean() + half]).tolist()
    return Ratio(value, low, high)


def ratio_of_means(above: Sequence[float], below: Sequence[float], draws: int = 4000) -> Ratio:
    """The ratio of two unpaired means, with a percentile bootstrap interval."""
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
    """CPU seconds, one per round."""
    return [cost.cpu for cost in costs]


def typical(costs: Sequence[Cost]) -> Cost:
    """The median cost."""
    return Cost(median(walls(costs)), median(cpus(costs)))


def cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine() -> dict[str, Any]:
    """Date, machine, load and versions of a measurement."""
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
    """A Markdown table, with floats to three significant digits."""
    lines = [headers, ["---"] * len(headers), *([_cell(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def parser(doc: str | None) -> argparse.ArgumentParser:
    """A parser of the arguments that all benchmarks have."""
    made = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--quick", action="store_true", help="a smoke run; ignore its numbers")
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
    """Print a report; with `--output`, also write it as Markdown and the numbers as JSON.

    Args:
        title: The report's heading.
        sections: Heading and text of each part.
        facts: All numbers, as plain data or dataclasses.
        arguments: The parsed command line, which is part of the record.
    """
    where = machine()
    lines = [f"# {title}", "", ", ".join(f"{key}: {value}" for key, value in where.items())]
    if arguments.quick:
        lines += ["", "**A smoke run (`--quick`): ignore these numbers.**"]
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
