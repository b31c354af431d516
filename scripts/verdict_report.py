"""The report of `benchmark_verdict.py`: totals, unit costs, the ladder, and why they are comparable."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from benchmarking import Cost, cpus, ratio, table, typical, walls
from verdict_accounts import Account, Run
from verdict_contenders import OURS, Order, Timed

#: Numbers of candidates that the ratios are extrapolated to.
CANDIDATES = (32, 64, 128, 256)

#: Step of the ladder -> the contender without it, and the one with it.
LADDER = {
    "images in memory, no logger, no DataLoader": ("B0", "B1"),
    "a cohort on one stream of batches (loop)": ("B1", "loop"),
    "the cohort stacked, against the loop": ("loop", "stacked"),
    "channels-last, against the loop": ("loop", "channels_last"),
    "bf16 and channels-last, against the loop": ("loop", "bf16"),
    "freed memory kept, against the loop": ("loop", "kept"),
    "one process per core, against one process that keeps its memory": ("kept", "processes"),
}


def warm(timed: Sequence[Timed]) -> list[Cost]:
    """The warm costs, one per round."""
    return [each.warm for each in timed]


def totals(
    aims: Mapping[str, int], counted: Account, timed: dict[str, list[Timed]], runs: list[Run]
) -> str:
    """Time to the verdict by procedure, and its ratio to ours."""
    ours = [run.cost for run in runs]
    taken = typical(ours)
    rows: list[tuple[object, ...]] = [
        ("ours", "measured", counted.ours, taken.wall, taken.cpu, "1", "1", "")
    ]
    for shortlisted, which in ((False, "all candidates"), (True, "short list after a search")):
        for name in ("B0", "B1"):
            number = counted.needs(name, shortlisted)
            costs = [cost.times(number) for cost in warm(timed[name])]
            whole, faster = typical(costs), ratio(walls(costs), walls(ours))
            aim = f"aim {aims[name]}" if not shortlisted else ""
            rows.append(
                (
                    f"{name}, {which}",
                    "extrapolated",
                    f"{number:.0f}",
                    whole.wall,
                    whole.cpu,
                    faster,
                    ratio(cpus(costs), cpus(ours)),
                    aim,
                )
            )
    headers = (
        "procedure",
        "seconds are",
        "candidate-seeds at full budget",
        "wall s",
        "CPU s",
        "times ours, wall",
        "times ours, CPU",
        "",
    )
    return table(headers, rows)


def larger(counted: Account, timed: dict[str, list[Timed]], runs: Sequence[Run]) -> str:
    """How the ratios change with the number of candidates, extrapolated from the measurements.

    Each further candidate costs the baselines all of their seeds. It costs ours its share of the search,
    while the race stays the same. Our time outside training is assumed to grow in proportion to it, which
    favours the baselines.
    """
    ours = typical([run.cost for run in runs]).wall / counted.ours
    rows: list[tuple[object, ...]] = []
    for number in (counted.candidates, *(n for n in CANDIDATES if n > counted.candidates)):
        searched = counted.search_epochs * number / counted.candidates
        more = replace(counted, candidates=number, search_epochs=searched)
        times = [
            typical(warm(timed[name])).wall * more.needs(name, shortlisted=False)
            for name in ("B0", "B1")
        ]
        taken = ours * more.ours
        rows.append((number, taken, *(f"{each / taken:.3g}" for each in times)))
    return table(("candidates", "ours, wall s", "B0 / ours", "B1 / ours"), rows)


def units(orders: dict[str, Order], timed: dict[str, list[Timed]]) -> str:
    """The measured cost of one candidate on one seed at full budget, cold and warm."""
    rows = []
    for name, order in orders.items():
        cold, further = typical([each.cold for each in timed[name]]), typical(warm(timed[name]))
        how = f"{order.threads} threads, {order.setting['workers']} DataLoader processes"
        if name in OURS:
            how = f"{order.cohort} together, {order.share:g} of the epochs, scaled to all"
        rows.append((name, how, cold.wall, cold.cpu, further.wall, further.cpu))
    headers = ("contender", "how", "cold wall s", "cold CPU s", "warm wall s", "warm CPU s")
    return table(headers, rows)


def ladder(counted: Account, timed: dict[str, list[Timed]]) -> str:
    """What each step contributes on its own."""
    rows: list[tuple[object, ...]] = []
    for part, (without, having) in LADDER.items():
        if having in timed:
            pair = [warm(timed[name]) for name in (without, having)]
            rows.append((part, "measured", *(ratio(*map(of, pair)) for of in (walls, cpus))))
    fixed = counted.needs("B1", shortlisted=False)
    short = counted.needs("B1", shortlisted=True)
    searched = counted.candidates * counted.search_seeds
    counts = {
        "pairing: seeds of an unpaired over a paired test": counted.unpaired / counted.paired,
        "MedianPruner (B0's own)": 1 / counted.kept,
        "a search and a short list, against all candidates at the fixed number": fixed / short,
        "rungs of the search": searched * counted.epochs / counted.search_epochs,
        "early looks and stops of the race": counted.entrants * counted.paired / counted.race_seeds,
    }
    rows += [(part, "counted", f"{factor:.3g}", f"{factor:.3g}") for part, factor in counts.items()]
    return table(("step", "ratio is", "without / with, wall", "without / with, CPU"), rows)


def describe(counted: Account, runs: Sequence[Run]) -> str:
    """The verdict, and why the procedures are comparable."""
    verdict = runs[0].verdict
    answers = {(run.verdict["status"], run.verdict["winner"]) for run in runs}
    agree = "Equal" if len(answers) == 1 else f"NOT equal ({sorted(map(str, answers))})"
    shared = "" if counted.correlation is None else f", correlation {counted.correlation:.2f}"
    return (
        f"Verdict ({verdict['status']}): {verdict['sentence']}. {agree} in all {len(runs)} rounds.\n\n"
        f"{counted.candidates} candidates, {counted.entrants} in the race, {counted.epochs:g} epochs. "
        f"Measured spread between seeds: {counted.spread:.3g} points; of the paired difference: "
        f"{counted.paired_spread:.3g}{shared}. With at most {counted.max_seeds} blocks the race detects a gap "
        f"of {counted.gap:.3g} points (beyond the margin) with power {counted.power:g} at "
        f"alpha {counted.alpha:g}. A fixed number of seeds detects it with {counted.paired} paired or "
        f"{counted.unpaired} unpaired seeds (computed). MedianPruner keeps {100 * counted.kept:.0f}% of B0's "
        "epochs (replayed; this favours B0, since a pruned trial gives no score for a test). The spreads are "
        f"from {verdict['n_seeds']} blocks; the intervals below cover the timing only. The search is timed "
        "cold, from the start of its command."
    )
