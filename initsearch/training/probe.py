"""The probe: a few steps of each way to train a cohort, timed for this model on this device.

Which way is fastest depends on the model and the machine: stacked members gain on small dense layers and lose
on convolutions, bfloat16 gains where the processor has units for it. A coordinator probes once per study and
gives the choice to every job (`EngineChoice.apply`): results do not depend on when and where a job ran.
"""

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import product

from initsearch.execution import own_device
from initsearch.random_state import isolated_random_state
from initsearch.tasks.quiet_fit import quiet
from initsearch.training.bench import Bench, Way, free_memory
from initsearch.training.engine_choice import EngineChoice
from initsearch.training.job import TrainJob
from initsearch.training.lightning_run import make_trainer, one_thread
from initsearch.training.trainer_settings import TrainerSettings

COHORT_SIZES = (1, 2, 4, 8, 16, 32)
# How much faster another way must be than the plain one, since it differs in rounding or in precision.
GAIN = 1.1
GAIN_BF16 = 1.3
NEAR = 1.03  # no larger cohort is tried after one that gains less than this


def choose_engine(
    job: TrainJob,
    cohort_sizes: Sequence[int] = COHORT_SIZES,
    memory_bytes: int | None = None,
    processes: int = 1,
) -> EngineChoice:
    """Time the ways to train this job's candidates, and choose.

    Settings of the job's trainer that are not `auto` are kept.

    Args:
        job: Any job of the study; copies of its first candidate are trained for a few steps.
        cohort_sizes: The sizes to try, ascending.
        memory_bytes: What a cohort may take; None: its share of half of what is free now.
        processes: Number of processes that train at the same time, each a cohort of its own.

    Raises:
        ConfigError: A setting breaks a rule.
        DataError: The data set is missing or damaged.
        ModelError: The model cannot be built, initialized or trained.
    """
    settings = job.trainer
    if settings.distributed:
        return EngineChoice(
            "loop",
            1,
            settings.channels_last is True,
            "bf16" if settings.autocast == "bf16" else "none",
            "one training takes several devices, which leaves room for one candidate",
        )
    with quiet(), ExitStack() as stack:
        trainer = make_trainer(settings, own_device())
        device = trainer.strategy.root_device
        stack.enter_context(one_thread(device))
        stack.enter_context(isolated_random_state(devices=[device]))
        bench = Bench(job, device, trainer.precision_plugin.convert_module)
        stack.enter_context(trainer.precision_plugin.train_step_context())
        bound = free_memory(device) // 2 // processes if memory_bytes is None else memory_bytes
        return choose(bench, settings, cohort_sizes, bound)


def choose(
    bench: Bench, settings: TrainerSettings, cohort_sizes: Sequence[int], bound: int
) -> EngineChoice:
    """The choice, by what a bench measures; see `choose_engine`."""
    obstacle = bench.obstacle()
    engines = ["loop", "stacked"] if settings.engine == "auto" else [settings.engine]
    if obstacle is not None:
        engines = ["loop"]
    autocasts = ["none", "bf16"] if settings.autocast == "auto" else [settings.autocast]
    orders = [False, True] if settings.channels_last == "auto" else [settings.channels_last is True]
    if not bench.has_convolutions:
        orders = [False]

    # One candidate shows what precision and memory order gain, several show what stacking gains.
    times = bench.time(Way("loop", 1, a, order) for a, order in product(autocasts, orders))
    exact = _fastest([way for way in times if way.autocast == autocasts[0]], times, GAIN)
    others = [way for way in times if way.autocast != autocasts[0]]
    best = _fastest([exact, *others], times, GAIN_BF16)

    fitting = {engine: _fitting(bench.memory(engine), cohort_sizes, bound) for engine in engines}
    # The engines that still gain by size, with their last time.
    gaining = dict.fromkeys(engines, math.inf)
    for size in cohort_sizes:
        ways = [replace(best, engine=e, members=size) for e in gaining if size in fitting[e]]
        times |= bench.time(way for way in ways if way not in times)
        gaining = {w.engine: times[w] for w in ways if times[w] * NEAR < gaining[w.engine]}

    fastest = {
        engine: min(
            (way for way in times if replace(way, members=1) == replace(best, engine=engine)),
            key=times.__getitem__,
        )
        for engine in engines
    }
    chosen = fastest.get("loop") or fastest["stacked"]
    if "stacked" in fastest and times[fastest["stacked"]] * GAIN < times[chosen]:
        chosen = fastest["stacked"]
    # In a loop, further members share the batch: a larger cohort is never slower.
    members = max(fitting["loop"]) if chosen.engine == "loop" else chosen.members
    fixed, each = bench.memory(chosen.engine)
    notes = [_comparison(chosen, times)]
    if obstacle is not None and settings.engine != "loop":
        notes.append(f"not stacked, since {obstacle}")
    if fixed + members * each > bound:
        notes.append(
            f"{members} at a time take {fixed + members * each} bytes, the limit is {bound}"
        )
    return EngineChoice(
        engine=chosen.engine,
        cohort_size=members,
        channels_last=chosen.channels_last,
        autocast=chosen.autocast,
        reason="; ".join(notes),
        timings={str(way): seconds * 1e3 for way, seconds in times.items()},
        member_bytes=each,
        memory_bytes=bound,
    )


def _fitting(memory: tuple[int, int], cohort_sizes: Sequence[int], bound: int) -> list[int]:
    """The sizes within the limit; the smallest one, where none is."""
    fixed, each = memory
    fitting = [size for size in cohort_sizes if fixed + size * each <= bound]
    return fitting or [min(cohort_sizes)]


def _fastest(ways: Sequence[Way], times: Mapping[Way, float], gain: float) -> Way:
    """The fastest way, if it is faster than the first by more than `gain`; else the first."""
    rival = min(ways, key=times.__getitem__)
    return rival if times[rival] * gain < times[ways[0]] else ways[0]


def _comparison(chosen: Way, times: Mapping[Way, float]) -> str:
    """How long the chosen way takes, the plainest one, and the best of the other engine."""
    own = f"{chosen} takes {times[chosen] * 1e3:.3g} ms per candidate and step"
    rivals = [way for way in times if way.engine != chosen.engine]
    compared = {next(iter(times)), *sorted(rivals, key=times.__getitem__)[:1]} - {chosen}
    others = [f"{way} {times[way] * 1e3:.3g}" for way in times if way in compared]
    return f"{own}, {' and '.join(others)}" if others else own
