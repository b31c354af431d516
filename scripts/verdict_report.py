"""What `benchmark_verdict.py` prints: totals, unit costs, the ladder, and what makes them comparable."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from benchmarking import Cost, cpus, ratio, table, typical, walls
from verdict_accounts import Account, Run
from verdict_contenders import OURS, Order, Timed

#: Numbers of candidates for which the ratios are computed as well.
CANDIDATES = (32, 64, 128, 256)

#: Part of the ladder -> the contender without it, and the one with it.
LADDER = {
    "images in memory, no logger, no DataLoader": ("B0", "B1"),
    "a cohort on one stream of batches (loop)": ("B1", "loop"),
    "the cohort stacked, against the loop": ("loop", "stacked"),
    "channels-last, against the loop": ("loop", "channels_last"),
    "bf16 and channels-last, against the loop": ("loop", "bf16"),
    "freed memory kept, against the loop": ("loop", "kept"),
    "a process per core, against one that keeps its memory": ("kept", "processes"),
}


def warm(timed: Sequence[Timed]) -> list[Cost]:
    """The warm costs, one per round."""
    return [each.warm for each in timed]


def totals(
    aims: Mapping[str, int], counted: Account, timed: dict[str, list[Timed]], runs: list[Run]
) -> str:
    """Time to the verdict by procedure, and how many times longer than ours."""
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
    """How the ratios change with the number of candidates (all computed from what was measured).

    More candidates cost the baselines all of their seeds, and ours the search's share; the race stays as
    long. What ours takes beside the training is taken to grow with it, which is in the baselines' favour.
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
    return table(("candidates", "ours, wall s", "times B0 takes", "times B1 takes"), rows)


def units(orders: dict[str, Order], timed: dict[str, list[Timed]]) -> str:
    """Cost of one candidate on one seed at full budget, cold and warm (measured)."""
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
    """What each part contributes by itself."""
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
        "rungs, in the search": searched * counted.epochs / counted.search_epochs,
        "early looks and stops, in the race": counted.entrants
        * counted.paired
        / counted.race_seeds,
    }
    rows += [(part, "counted", f"{factor:.3g}", f"{factor:.3g}") for part, factor in counts.items()]
    return table(("part", "ratio is", "times less, wall", "times less, CPU"), rows)


def describe(counted: Account, runs: Sequence[Run]) -> str:
    """The verdict, and what makes the procedures comparable."""
    verdict = runs[0].verdict
    answers = {(run.verdict["status"], run.verdict["winner"]) for run in runs}
    agree = "the same" if len(answers) == 1 else f"NOT the same: {sorted(map(str, answers))}"
    shared = "" if counted.correlation is None else f", correlation {counted.correlation:.2f}"
    return (
        f"Verdict ({verdict['status']}): {verdict['sentence']}. In all {len(runs)} rounds {agree}.\n\n"
        f"{counted.candidates} candidates, {counted.entrants} in the race, {counted.epochs:g} epochs. "
        f"Measured spread between seeds {counted.spread:.3g} points, of the paired difference "
        f"{counted.paired_spread:.3g}{shared}. With at most {counted.max_seeds} blocks the race sees a gap "
        f"of {counted.gap:.3g} points (beyond the margin) with power {counted.power:g} at "
        f"alpha {counted.alpha:g}. The same takes {counted.paired} paired or {counted.unpaired} unpaired "
        f"seeds of a fixed number (computed). A MedianPruner leaves {100 * counted.kept:.0f}% of B0's epochs "
        "(replayed; in B0's favour, since a pruned trial is no seed of a test). The spreads are those of "
        f"{verdict['n_seeds']} blocks; the intervals below speak of the timing alone. The search is timed "
        "cold, from the start of its command."
    )
