"""Compare the speed of a cohort's engines with a plain PyTorch loop and with the machine's peak.

A member-step is one optimizer step of one candidate on one batch. The reference is a plain PyTorch
loop over one model on images in memory. The loop and stacked engines are timed for several cohort
sizes, interleaved with the reference, and reported as a ratio to it (above 1: faster than the plain
loop). The floating-point operations of a member-step, counted by `torch.utils.flop_counter`, divided
by its time are compared with what one thread reaches in a large matrix product of the same type.

Memory is measured in a fresh process for each cohort size: the peak of the resident set, minus the
resident set after training one member. A straight line through the sizes gives the bytes per member.

bfloat16 is timed on request only: it takes minutes on a CPU without units for it.

    python scripts/benchmark_engine.py --output /tmp/engine
    python scripts/benchmark_engine.py --model convnet --engines loop --variants plain channels_last bf16
"""

import argparse
import itertools
import multiprocessing
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarking import cpus, interleave, parser, publish, ratio, table, typical, walls
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from initsearch.execution import keep_freed_memory
from initsearch.tasks import (
    Batch,
    BatchFormat,
    Block,
    CohortTask,
    DataSettings,
    ImageClassification,
    ModelSettings,
    OptimizerSettings,
)
from initsearch.tasks.models import build_model
from initsearch.training.engine_protocol import Engine
from initsearch.training.inputs import lay_out
from initsearch.training.loop_engine import LoopEngine
from initsearch.training.stacked_engine import StackedEngine

MODELS: dict[str, dict[str, Any]] = {
    "mlp": {"name": "mlp", "depth": 2, "width": 128},
    "convnet": {"name": "convnet", "depth": 4, "width": 16},
}
STEPS = {"mlp": 64, "convnet": 8}  # member-steps per timed call, at least one step
#: By variant, the format of its batches, and whether it runs in bfloat16.
VARIANTS = {
    "plain": (BatchFormat(), False),
    "channels_last": (BatchFormat(channels_last=True), False),
    "bf16": (BatchFormat(channels_last=True), True),
}
RATE = 0.05
Batches = Iterator[tuple[int, Batch]]


def make_task(model: str, batch: int, data_root: str | None = None) -> ImageClassification:
    """MNIST with one of the models and SGD with momentum."""
    return ImageClassification(
        data=DataSettings(name="mnist", root=data_root),
        model=ModelSettings.parse("model", MODELS[model]),
        optimizer=OptimizerSettings.parse(
            "optimizer", {"name": "sgd", "momentum": 0.9, "batch_size": batch}
        ),
    )


def batches(block: Block, form: BatchFormat) -> Batches:
    """Endless batches, ready for a model, with their step."""
    for step, raw in enumerate(block.batches(0, sys.maxsize)):
        yield step, block.ready(raw, form)


def plain_loop(task: CohortTask, model: nn.Module, stream: Batches, steps: int) -> None:
    """The reference: train one model, with no other work."""
    optimizer = task.optimizer.build(model.parameters(), RATE)
    for _, (x, y) in itertools.islice(stream, steps):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def run_engine(engine: Engine, stream: Batches, steps: int) -> None:
    """Train every member of a cohort for the same steps."""
    for step, batch in itertools.islice(stream, steps):
        engine.step(batch, step)


def make_members(task: ImageClassification, count: int, form: BatchFormat) -> list[nn.Module]:
    """Models of one architecture for MNIST."""
    members = [build_model(task.model, (1, 28, 28), 10) for _ in range(count)]
    lay_out(members, form)
    return members


def make_engine(kind: str, task: ImageClassification, count: int, variant: str) -> Engine:
    """An engine over new members, all with one learning rate."""
    form, bf16 = VARIANTS[variant]
    members = make_members(task, count, form)
    if kind == "stacked":
        rates, states = [RATE] * len(members), [None] * len(members)
        return StackedEngine(members, rates, task, states, seed=0, bf16=bf16)
    optimizers = [task.optimizer.build(member.parameters(), RATE) for member in members]
    return LoopEngine(members, optimizers, task, seed=0, bf16=bf16)


def flops_per_step(task: ImageClassification) -> int:
    """Floating-point operations of one member's forward and backward pass on one batch."""
    (model,), batch = make_members(task, 1, BatchFormat()), task.optimizer.batch_size
    with FlopCounterMode(display=False) as counter:
        loss = F.cross_entropy(model(torch.zeros(batch, 1, 28, 28)), torch.zeros(batch).long())
        loss.backward()  # type: ignore[no-untyped-call]
    return int(counter.get_total_flops())


def matmul_peak(dtype: torch.dtype, size: int = 2048) -> Callable[[], object]:
    """A large matrix product: 2 size^3 operations."""
    a, b = torch.randn(size, size, dtype=dtype), torch.randn(size, size, dtype=dtype)
    return lambda: a @ b


def peak_memory(model: str, kind: str, count: int, batch: int) -> int:
    """Peak bytes of a cohort's first steps, minus those after training one member. Linux only."""
    torch.set_num_threads(1)
    keep_freed_memory()  # as workers do; otherwise the resident set depends on what glibc returns
    task = make_task(model, batch)
    black = (torch.zeros(batch, 1, 28, 28), torch.zeros(batch).long())
    run_engine(make_engine(kind, task, 1, "plain"), iter([(0, black)]), 1)
    before = _status("VmRSS")
    engine = make_engine(kind, task, count, "plain")
    run_engine(engine, iter([(0, black)] * 4), 4)
    return _status("VmHWM") - before


def _status(key: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {key}")


def speed(model: str, arguments: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """Time all engines, variants and cohort sizes of a model; return the report and the costs."""
    batch = arguments.batch
    task = make_task(model, batch, arguments.data_root)
    block = task.open(seed=0, device=torch.device("cpu"))
    work = arguments.steps or STEPS[model]
    (reference,) = make_members(task, 1, BatchFormat())
    reference_stream = batches(block, BatchFormat())
    peaks = {"float32": torch.float32}
    if "bf16" in arguments.variants:  # takes minutes on a CPU without units for it
        peaks["bf16"] = torch.bfloat16
    contenders: dict[str, Callable[[], object]] = {
        f"peak {name}": matmul_peak(dtype) for name, dtype in peaks.items()
    }
    contenders["plain PyTorch loop"] = lambda: plain_loop(task, reference, reference_stream, work)
    entrants: dict[str, tuple[str, str, int]] = {}
    steps = {count: max(1, work // count) for count in arguments.sizes}
    for kind, variant, count in itertools.product(
        arguments.engines, arguments.variants, arguments.sizes
    ):
        engine = make_engine(kind, task, count, variant)
        stream = batches(block, VARIANTS[variant][0])
        name = f"{kind} {variant} {count}"
        entrants[name] = (kind, variant, count)
        contenders[name] = partial(run_engine, engine, stream, steps[count])
    costs = interleave(contenders, arguments.rounds)
    operations = flops_per_step(task)
    peak = {name: 2 * 2048**3 / min(walls(costs[f"peak {name}"])) for name in peaks}
    alone = costs["plain PyTorch loop"]
    rows: list[tuple[object, ...]] = []
    reference_row = {"plain PyTorch loop": ("plain loop", "plain", 1)}
    for name, (kind, variant, count) in (reference_row | entrants).items():
        done = work if name in reference_row else count * steps[count]
        seconds = typical(costs[name]).wall / done
        share = operations / seconds / peak["bf16" if variant == "bf16" else "float32"]
        each = [
            ratio([c / work * done for c in of(alone)], of(costs[name])) for of in (walls, cpus)
        ]
        rows.append((kind, variant, count, f"{1 / seconds:.0f}", *each, f"{100 * share:.1f}%"))
    headers = (
        "engine",
        "variant",
        "members",
        "member-steps/s",
        "ratio to the plain loop, wall",
        "ratio to the plain loop, CPU",
        "share of the matmul peak",
    )
    text = (
        f"Batch {batch}, at least {work} member-steps per round, {arguments.rounds} rounds, one thread; "
        f"{operations / 1e6:.1f} MFLOP per member-step; peak of one thread "
        + ", ".join(f"{name} {value / 1e9:.0f} GFLOP/s" for name, value in peak.items())
        + f".\n\n{table(headers, rows)}"
    )
    return text, {"costs": costs, "operations": operations, "peak": peak}


def memory(model: str, arguments: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """Peak memory by cohort size, and how linear it is."""
    if not Path("/proc/self/status").exists():
        return "Not measured: it is read from /proc, which only Linux has.", {}
    context = multiprocessing.get_context("spawn")
    taken: dict[str, list[int]] = {}
    rows: list[tuple[object, ...]] = []
    (member,) = make_members(make_task(model, arguments.batch), 1, BatchFormat())
    parameters = sum(p.numel() * p.element_size() for p in member.parameters())
    for kind in arguments.engines:
        taken[kind] = []
        for count in arguments.sizes:
            with ProcessPoolExecutor(1, mp_context=context) as pool:
                job = pool.submit(peak_memory, model, kind, count, arguments.batch)
                taken[kind].append(job.result())
        slope, start = np.polyfit(arguments.sizes, taken[kind], 1)
        off = np.abs(np.polyval((slope, start), arguments.sizes) - taken[kind]).max()
        sizes = ", ".join(f"{byte / 1e6:.1f}" for byte in taken[kind])
        rows.append((kind, sizes, slope / 1e6, slope / parameters, off / max(taken[kind])))
    headers = (
        "engine",
        f"peak MB for {', '.join(map(str, arguments.sizes))} members",
        "MB per member",
        "times its parameters",
        "largest deviation from the line, as a share of the peak",
    )
    return table(headers, rows), {"bytes": taken, "parameter bytes": parameters}


def main() -> None:
    """Measure each model and print speeds and memory."""
    arguments_of = parser(__doc__)
    arguments_of.add_argument("--model", nargs="+", choices=MODELS, default=list(MODELS))
    arguments_of.add_argument("--engines", nargs="+", default=["loop", "stacked"])
    arguments_of.add_argument(
        "--variants", nargs="+", choices=VARIANTS, default=["plain", "channels_last"]
    )
    arguments_of.add_argument("--sizes", nargs="+", type=int, default=[1, 2, 4, 8, 16])
    arguments_of.add_argument("--steps", type=int, help="member-steps per timed call")
    arguments_of.add_argument("--batch", type=int, default=128)
    arguments_of.add_argument(
        "--data-root", help="the folder of MNIST (default: that of `data.root`)"
    )
    arguments = arguments_of.parse_args()
    arguments.rounds = arguments.rounds or (2 if arguments.quick else 6)
    if arguments.quick:
        arguments.model, arguments.sizes, arguments.steps = ["mlp"], [1, 4], 5
        arguments.variants = ["plain"]
    torch.set_num_threads(1)
    sections, facts = [], {}
    for model in arguments.model:
        for title, (text, found) in (
            ("speed", speed(model, arguments)),
            ("memory", memory(model, arguments)),
        ):
            sections.append((f"{model}: {title}", text))
            facts[f"{model} {title}"] = found
    publish("A cohort's engines against a plain loop", sections, facts, arguments)


if __name__ == "__main__":
    main()
