"""The probe: what it chooses by given times, and what it measures on a real model."""

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from engine_jobs import MLP, make_job, make_trainer

from initsearch.training import EngineChoice, run_job
from initsearch.training.bench import ASSUMED_FREE, Bench, Way, free_memory
from initsearch.training.probe import choose, choose_engine

SIZES = (1, 2, 4, 8, 16)
CPU = torch.device("cpu")


@dataclass
class Scripted:
    """A bench whose every time is given by a formula; remembers what was asked of it."""

    formula: Callable[[Way], float]
    has_convolutions: bool = False
    why: str | None = None
    each: int = 100

    def __post_init__(self) -> None:
        self.timed: list[Way] = []

    def obstacle(self) -> str | None:
        return self.why

    def memory(self, engine: str) -> tuple[int, int]:
        return (1000, self.each) if engine == "loop" else (0, 2 * self.each)

    def time(self, ways: Iterable[Way]) -> dict[Way, float]:
        times = {way: self.formula(way) for way in ways}
        self.timed += times
        return times


def choice(bench: Scripted, bound: int = 10**9, **trainer: Any) -> EngineChoice:
    return choose(bench, make_trainer(**trainer), SIZES, bound)  # type: ignore[arg-type]


def dense(way: Way) -> float:
    """Small dense layers: stacking shares the overhead, bfloat16 costs."""
    if way.autocast == "bf16":
        return 2e-3
    return 1e-3 if way.engine == "loop" else 0.2e-3 + 2e-3 / way.members


def convolutions(way: Way) -> float:
    """Convolutions on a processor with units for bfloat16, worth it in channels-last order only."""
    per_step = 1e-2 * (1.5 if way.engine == "stacked" else 1.0)
    return (
        per_step
        * {(False, "none"): 1, (True, "none"): 0.6, (False, "bf16"): 1.1, (True, "bf16"): 0.3}[
            way.channels_last, way.autocast
        ]
    )


def test_small_dense_layers_are_stacked() -> None:
    bench = Scripted(dense)
    chosen = choice(bench)
    assert (chosen.engine, chosen.cohort_size, chosen.autocast) == ("stacked", 16, "none")
    assert chosen.reason == ("stacked x16 takes 0.325 ms per candidate and step, loop x1 1")
    assert chosen.timings["stacked x8"] == pytest.approx(0.45)
    assert not any(way.channels_last for way in bench.timed)


def test_convolutions_are_looped_in_the_fastest_precision_and_order() -> None:
    bench = Scripted(convolutions, has_convolutions=True)
    chosen = choice(bench)
    assert (chosen.engine, chosen.cohort_size) == ("loop", 16)
    assert (chosen.channels_last, chosen.autocast) == (True, "bf16")
    assert max(way.members for way in bench.timed if way.engine == "stacked") == 2


def test_a_small_gain_is_not_worth_the_difference() -> None:
    slightly = Scripted(lambda way: 0.95e-3 if way.engine == "stacked" else 1e-3)
    assert choice(slightly).engine == "loop"
    bf16 = Scripted(lambda way: 0.8e-3 if way.autocast == "bf16" else 1e-3)
    assert choice(bf16).autocast == "none"


def test_what_is_not_auto_is_kept() -> None:
    images = Scripted(convolutions, has_convolutions=True)
    chosen = choice(images, engine="stacked", autocast="none", channels_last=False)
    assert (chosen.engine, chosen.autocast, chosen.channels_last) == ("stacked", "none", False)
    assert choice(Scripted(dense), engine="loop").engine == "loop"
    assert choice(Scripted(dense), autocast="bf16").autocast == "bf16"


def test_the_memory_bound_is_kept() -> None:
    bench = Scripted(dense)
    chosen = choice(bench, bound=900)  # stacked: 200 a member; a loop takes 1000 before its first
    assert (chosen.engine, chosen.cohort_size) == ("stacked", 4)
    assert max(way.members for way in bench.timed) == 4
    assert (chosen.member_bytes, chosen.memory_bytes) == (200, 900)
    too_much = choice(Scripted(dense), bound=1, engine="loop")
    assert too_much.cohort_size == 1
    assert "1 at a time take 1100 bytes, the limit is 1" in too_much.reason


def test_an_obstacle_leaves_the_loop_and_is_told() -> None:
    chosen = choice(Scripted(dense, why="the optimizer is unknown"))
    assert chosen.engine == "loop"
    assert chosen.reason.endswith("; not stacked, since the optimizer is unknown")
    assert (
        "optimizer"
        not in choice(Scripted(dense, why="the optimizer is unknown"), engine="loop").reason
    )


def test_apply_decides_every_auto() -> None:
    chosen = EngineChoice("stacked", 8, True, "bf16", "because")
    asked = make_trainer(engine="auto", autocast="auto", channels_last="auto")
    decided = {"engine": "stacked", "channels_last": True}
    assert chosen.apply(asked) == make_trainer(**decided, autocast="bf16")
    assert chosen.apply(asked, exact=True) == make_trainer(**decided, autocast="none")
    assert chosen.apply(make_trainer(autocast="bf16"), exact=True).autocast == "bf16"


def test_a_real_probe_chooses_something_that_runs() -> None:
    job = make_job(model={"name": "convnet", "width": 2, "depth": 2}, trainer={})
    torch.manual_seed(0)
    before = torch.get_rng_state()
    chosen = choose_engine(job, cohort_sizes=(1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(milliseconds > 0 for milliseconds in chosen.timings.values())
    assert {"loop x1", "loop x1, channels_last", "loop x1, bf16"} <= set(chosen.timings)
    assert EngineChoice.from_json(json.loads(json.dumps(chosen.to_json()))) == chosen
    result = run_job(replace(job, trainer=chosen.apply(job.trainer)))
    assert result.engine == chosen.engine
    assert result.reason == "asked for"


def test_one_training_over_several_devices_is_one_candidate() -> None:
    chosen = choose_engine(make_job(trainer={"strategy": "ddp", "devices": 2}))
    assert (chosen.engine, chosen.cohort_size, chosen.timings) == ("loop", 1, {})
    assert "room for one candidate" in chosen.reason


def test_lbfgs_is_not_stacked() -> None:
    job = make_job(
        optimizer={"name": "torch.optim.LBFGS", "max_iter": 2, "batch_size": 32}, trainer={}
    )
    chosen = choose_engine(job, cohort_sizes=(1,))
    assert chosen.engine == "loop"
    assert "LBFGS is not known to be elementwise" in chosen.reason


@pytest.mark.parametrize(("optimizer", "states"), [("sgd", 1), ("adam", 2)])
def test_memory_of_a_member_is_counted_by_its_tensors(optimizer: str, states: int) -> None:
    settings: dict[str, Any] = {"name": optimizer, "batch_size": 32}
    if optimizer == "sgd":
        settings["momentum"] = 0.9
    bench = Bench(make_job(optimizer=settings), CPU, lambda model: model)
    weights = 4 * (64 * 24 + 24 + 24 * 24 + 24 + 24 * 10 + 10)
    steps = 6 * 4 if optimizer == "adam" else 0  # Adam's count, one for each of six parameters
    batch, hidden, scores = 32 * 64 * 4, 32 * 24 * 4, 32 * 10 * 4
    fixed, each = bench.memory("loop")
    assert each == weights * (2 + states) + steps
    # The input, two hidden layers and the log-probabilities, and little besides (labels, a weight sum).
    assert batch + 2 * hidden + scores <= fixed <= batch + 2 * hidden + scores + 32 * 8 + 64
    assert bench.memory("stacked") == (0, each + weights + fixed)
    assert MLP["width"] == 24


def test_free_memory_is_that_of_a_machine() -> None:
    assert 2**20 < free_memory(CPU) < 2**50


def test_free_memory_is_assumed_where_the_system_does_not_report_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(os, "sysconf")  # as on Windows
    monkeypatch.delattr(os, "sysconf_names")
    assert free_memory(CPU) == ASSUMED_FREE
    monkeypatch.setattr(os, "sysconf_names", {"SC_PAGE_SIZE": 1}, raising=False)  # as on macOS
    assert free_memory(CPU) == ASSUMED_FREE
