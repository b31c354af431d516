"""`Bench`: seconds per step and bytes per member of each way to train a cohort."""

import copy
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from initsearch.tasks.base import BatchFormat
from initsearch.training.engine_protocol import Engine
from initsearch.training.job import TrainJob
from initsearch.training.loop_engine import LoopEngine
from initsearch.training.members import build_members
from initsearch.training.stacked_engine import StackedEngine, why_not_stacked

ROUNDS = 3  # each way is timed this often, in turns, and its fastest time counts
ASSUMED_FREE = 4 * 2**30  # bytes; a machine that trains has as much, and a cohort rarely needs more
ROUND_SECONDS = 0.05  # a round repeats steps for this long: the clock's resolution does not matter


@dataclass(frozen=True)
class Way:
    """One way to train a cohort."""

    engine: str
    members: int
    autocast: str
    channels_last: bool

    def __str__(self) -> str:
        order = ", channels_last" if self.channels_last else ""
        precision = "" if self.autocast == "none" else f", {self.autocast}"
        return f"{self.engine} x{self.members}{precision}{order}"


def free_memory(device: torch.device) -> int:
    """Bytes that are free on a device now (on the CPU: free pages of the machine).

    macOS and Windows do not report it that way; there it is `ASSUMED_FREE`.
    """
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if "SC_AVPHYS_PAGES" not in getattr(os, "sysconf_names", {}):
        return ASSUMED_FREE
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


class Bench:
    """Copies of one candidate of a block, its batches, and a stopwatch."""

    def __init__(
        self, job: TrainJob, device: torch.device, convert: Callable[[nn.Module], nn.Module]
    ) -> None:
        self.device = device
        self.task = job.cohort_task
        self.block = job.cohort_task.open(job.seed, device)
        self.seed, self.lr = job.seed, job.candidates[0].rate
        fresh = replace(job, candidates=job.candidates[:1], states={}, start_epoch=0.0)
        (model,) = build_members(fresh, self.block)
        self._model = convert(model).to(device)
        self._members: list[nn.Module] = []
        self._raw = next(self.block.batches(0, 1))
        self._form = BatchFormat(next(model.parameters()).dtype, device=device)
        self.has_convolutions = any(p.ndim == 4 for p in model.parameters())

    def members(self, count: int) -> list[nn.Module]:
        """Copies of the model, made when they are first needed."""
        while len(self._members) < count:
            self._members.append(copy.deepcopy(self._model))
        return self._members[:count]

    def obstacle(self) -> str | None:
        """Why the members cannot be stacked; None if they can."""
        example = self.block.ready(self.block.example(2), self._form)
        return why_not_stacked(self.members(1), self.task, example)

    def engine(self, way: Way) -> Engine:
        """A fresh engine for a way, over copies that other ways may have trained."""
        order = torch.channels_last if way.channels_last else torch.contiguous_format
        members = [model.to(memory_format=order) for model in self.members(way.members)]
        bf16 = way.autocast == "bf16"
        if way.engine == "stacked":
            rates, states = [self.lr] * len(members), [None] * len(members)
            return StackedEngine(members, rates, self.task, states, seed=self.seed, bf16=bf16)
        optimizers = [self.task.optimizer.build(m.parameters(), self.lr) for m in members]
        return LoopEngine(members, optimizers, self.task, seed=self.seed, bf16=bf16)

    def time(self, ways: Iterable[Way]) -> dict[Way, float]:
        """Seconds per member and step of each way: the least of several rounds, taken in turns."""
        ways, best = list(ways), dict[Way, float]()
        repeats: dict[Way, int] = {}
        for turn in range(ROUNDS + 1):
            for way in ways:
                run = self._runner(way)
                run()  # the first step of an engine allocates
                if turn == 0:  # the first round chooses kernels: it only sets the repeats
                    repeats[way] = max(1, math.ceil(ROUND_SECONDS / self._seconds(run, 1)))
                    continue
                seconds = self._seconds(run, repeats[way]) / way.members
                best[way] = min(seconds, best.get(way, math.inf))
        return best

    def _runner(self, way: Way) -> Callable[[], Tensor]:
        engine = self.engine(way)
        form = replace(self._form, channels_last=way.channels_last)

        def run() -> Tensor:
            return engine.step(self.block.ready(self._raw, form), 0)

        return run

    def _seconds(self, run: Callable[[], Tensor], repeats: int) -> float:
        self._wait()
        start = time.perf_counter()
        for _ in range(repeats):
            run()
        self._wait()
        return (time.perf_counter() - start) / repeats

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def memory(self, engine: str) -> tuple[int, int]:
        """Bytes that a cohort takes once, and for each member: both are exact counts of tensors.

        A member has its parameters, buffers, gradients and optimizer state (twice the first two when
        stacked, since its module is kept). What the forward pass saves for the backward pass exists once
        in a loop, and once per member when stacked.
        """
        way = Way("loop", 1, "none", False)
        single = self.engine(way)
        kept: dict[int, int] = {}

        def keep(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        batch = self.block.ready(self._raw, self._form)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            single.step(batch, 0)
        (model,) = self.members(1)
        own = {p.untyped_storage().data_ptr() for p in model.parameters()}
        activations = sum(size for address, size in kept.items() if address not in own)
        weights = _bytes([*model.parameters(), *model.buffers()])
        gradients = _bytes([p.grad for p in model.parameters() if p.grad is not None])
        state = _bytes(_tensors(single.optimizer_state(0)["state"]))
        if engine == "loop":
            return activations, weights + gradients + state
        return 0, 2 * weights + gradients + state + activations


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _tensors(tree: Any) -> list[Tensor]:
    """All tensors in nested mappings."""
    if isinstance(tree, Tensor):
        return [tree]
    if isinstance(tree, Mapping):
        return [tensor for branch in tree.values() for tensor in _tensors(branch)]
    return []
