"""Whether the fast path gives the verdict that an exhaustive search at full budget gives.

Each architecture has ten plans. The fast path is the command `python -m initsearch` as it is: search
by rungs with screening and pruning, short list, race with looks and early stops. The exhaustive one
is the same command without any of that: all plans enter the race and have the full budget on all of
its blocks, and there is a single look at the end. Seed, race blocks, alpha and margin are the same.

The command lets nobody race who has not come through a search, so that the exhaustive run trains
each plan on one search block as well. Plans that diverge there are not raced, and listed apart; that
no other is missing, that nobody was stopped and that the blocks are the same is checked. That block
is in the exhaustive run's seconds, but its candidate-epochs are counted apart and are not compared.

The verdicts agree when their status and winner are the same or, without a winner, when the tie sets
overlap. They oppose each other when one has a winner that the other shows to be beaten. Regret is what
the fast path's leader lies below the exhaustive leader in the exhaustive race, in points.

    python scripts/benchmark_agreement.py --data-root ../data --output /tmp/agreement
    python scripts/benchmark_agreement.py --models tanh_mlp --seeds 0 1 2 --override race.margin=0.5
"""

import argparse
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agreement_pairs import Pair, check, diverged, explain, same_scores, trained
from benchmarking import cores, cpus, parser, publish, ratio, say, table, walls
from scipy import stats
from verdict_accounts import run_search

from initsearch.tasks.data import DataConfig, load_data

BASELINE = "torch_default"
SHARED: Mapping[str, Any] = {
    **{name: name for name in ("he_normal", "glorot_uniform", "glorot_normal", "lecun_normal")},
    "small_normal": {"name": "normal", "std": 0.01},
    "unit_normal": {"name": "normal", "std": 1.0},
    "zeros": "zeros",
}
ORTHOGONAL = {"name": "orthogonal", "gain": 1.0}


@dataclass(frozen=True)
class Model:
    """An architecture: overrides of the command line, and the plans besides the baseline."""

    overrides: str
    plans: Mapping[str, Any]

    @property
    def names(self) -> tuple[str, ...]:
        """All candidates; each is a scheme family of its own."""
        return (BASELINE, *self.plans)


MODELS = {
    "relu_mlp": Model(
        "model=mlp model.depth=2 model.width=128 race.margin=0.3",
        {**SHARED, "he_uniform": "he_uniform", "orthogonal": ORTHOGONAL},
    ),
    "tanh_mlp": Model(
        "model=mlp model.depth=4 model.activation=tanh optimizer.lr=0.02 race.margin=0.3",
        {**SHARED, "orthogonal": ORTHOGONAL, "orthogonal_5_3": {**ORTHOGONAL, "gain": 5 / 3}},
    ),
    "convnet": Model(
        "model=convnet model.width=8 data.image_size=14 optimizer.lr=0.02 optimizer.batch_size=32 "
        "race.margin=1.5",
        {**SHARED, "he_uniform": "he_uniform", "orthogonal": ORTHOGONAL},
    ),
    # Thirty layers without skips or norms: He alone has the variance that they want.
    "deep_mlp": Model(
        "model=mlp model.depth=30 optimizer.lr=0.01 optimizer.batch_size=100 race.margin=1.0",
        {**SHARED, "lecun_uniform": "lecun_uniform", "orthogonal": ORTHOGONAL},
    ),
}


def run_both(name: str, seed: int, arguments: argparse.Namespace) -> Pair:
    """The fast path and the exhaustive search, in an order drawn anew."""
    model = MODELS[name]
    plans = ", ".join(f"{key}: {_written(plan)}" for key, plan in model.plans.items())
    overrides = [
        *model.overrides.split(),
        *(f"name={name}", f"seed={seed}", f"workers={arguments.workers}"),
        *(f"baselines=[{BASELINE}]", f"+space.plans={{{plans}}}", f"n_trials={len(model.names)}"),
        *("data=mnist", "data.fallback=null", f"data.train_size={arguments.images}"),
        *(f"data.val_size={arguments.validation}", f"max_epochs={arguments.epochs}"),
        f"race.max_seeds={arguments.blocks}",
        f"data.root={DataConfig(root=arguments.data_root).folder.resolve()}",
        *arguments.override,
    ]
    everything = ["search.pruner=none", "search.screen=false", "search.seeds=1"]
    everything += [f"race.shortlist={len(model.names)}", f"race.looks=[{arguments.blocks}]"]
    ways = {"fast": overrides, "full": overrides + everything}
    runs = {
        way: run_search(ways[way]) for way in random.Random(f"{name} {seed}").sample(list(ways), 2)
    }
    pair = Pair(name, model.names, seed, runs["fast"], runs["full"])
    check(pair)
    agreed = "agree" if pair.agree else "DIFFER"
    verdicts = [f"{way}: {run.verdict['sentence']}" for way, run in runs.items()]
    say(f"{name}, seed {seed}: they {agreed}. {'. '.join(verdicts)}")
    return pair


def section(name: str, pairs: Sequence[Pair]) -> tuple[str, str]:
    """The report on one architecture."""
    rows: list[tuple[object, ...]] = []
    notes = []
    for pair in pairs:
        for way, run in (("fast", pair.fast), ("exhaustive", pair.full)):
            verdict = run.verdict
            said = (verdict["status"], ", ".join(verdict["tie_set"]), verdict["sentence"])
            epochs = [f"{each:g}" for each in trained(run)]
            seconds = [f"{each:.1f}" for each in (run.cost.wall, run.cost.cpu)]
            rows.append((pair.seed, way, *said, *epochs, *seconds))
        notes.append(
            f"Seed {pair.seed}: {'agree' if pair.agree else 'differ'}"
            f"{', opposed' if pair.opposed else ''}; regret {pair.regret:.2g} points; "
            f"{same_scores(pair)} scores of the fast race are the exhaustive race's own; diverged "
            f"before the exhaustive race: {', '.join(diverged(pair.full)) or 'none'}."
        )
        if not pair.agree:
            notes.append(explain(pair))
    headers = ["seed", "way", "status", "winner or tie set", "sentence"]
    headers += ["search candidate-epochs", "race candidate-epochs", "wall s", "CPU s"]
    return name, "\n\n".join([table(headers, rows), *notes])


def overall(found: Mapping[str, Sequence[Pair]]) -> str:
    """The agreements counted, and how much less the fast path trains and takes."""
    rows = []
    for name, pairs in found.items():
        fast, full = [p.fast.cost for p in pairs], [p.full.cost for p in pairs]
        ratios = (
            ratio([trained(p.full)[1] for p in pairs], [sum(trained(p.fast)) for p in pairs]),
            ratio(walls(full), walls(fast)),
            ratio(cpus(full), cpus(fast)),
        )
        agreed = f"{sum(p.agree for p in pairs)} of {len(pairs)}"
        said = ", ".join(p.full.verdict["status"] for p in pairs)
        rows.append((name, agreed, said, max(p.regret for p in pairs), *ratios))
    every = [pair for pairs in found.values() for pair in pairs]
    count = sum(pair.agree for pair in every)
    interval = stats.binomtest(count, len(every)).proportion_ci(0.95, method="exact")
    text = (
        f"{count} of {len(every)} verdicts agree (95% Clopper-Pearson interval: {interval.low:.2f} "
        f"to {interval.high:.2f}, as if the seeds of an architecture were cases of their own); "
        f"{sum(pair.opposed for pair in every)} oppose each other. Ratios are exhaustive to fast, "
        "with 95% intervals over the seeds."
    )
    headers = ("architecture", "agreements", "exhaustive verdicts", "largest regret, points")
    return f"{text}\n\n{table((*headers, 'candidate-epochs', 'wall', 'CPU'), rows)}"


def _written(plan: Any) -> str:
    """A plan in the command line's grammar."""
    if isinstance(plan, Mapping):
        return "{" + ", ".join(f"{key}: {_written(value)}" for key, value in plan.items()) + "}"
    return str(plan)


def main() -> None:
    """Compare the verdicts on each architecture and study seed."""
    arguments_of = parser(__doc__)
    arguments_of.add_argument("--models", nargs="+", choices=MODELS, help="default: all")
    arguments_of.add_argument(
        "--seeds", nargs="+", type=int, help="study seeds, a round each (default: 0 1)"
    )
    arguments_of.add_argument("--data-root", help="where MNIST lies (default: the data set's own)")
    arguments_of.add_argument("--images", type=int, default=6_000, help="to train on")
    arguments_of.add_argument("--validation", type=int, default=4_000, help="to validate on")
    arguments_of.add_argument("--epochs", type=int, default=4)
    arguments_of.add_argument("--blocks", type=int, default=12, help="of the race, at most")
    arguments_of.add_argument("--workers", type=int, default=cores(), help="training processes")
    arguments_of.add_argument(
        "--override", action="append", default=[], help="one more override of both; repeatable"
    )
    arguments = arguments_of.parse_args()
    arguments.models = arguments.models or (["relu_mlp"] if arguments.quick else list(MODELS))
    if arguments.quick:
        arguments.images, arguments.validation, arguments.epochs = 512, 256, 1
        arguments.blocks = 6
    arguments.rounds = arguments.rounds or (1 if arguments.quick else 2)
    seeds = arguments.seeds or list(range(arguments.rounds))
    load_data(DataConfig(name="mnist", root=arguments.data_root))  # downloaded before all else
    found = {name: [run_both(name, seed, arguments) for seed in seeds] for name in arguments.models}
    sections = [("overall", overall(found))]
    sections += [section(name, pairs) for name, pairs in found.items()]
    publish("The fast path against an exhaustive search", sections, {"pairs": found}, arguments)


if __name__ == "__main__":
    main()
