"""Compare the verdict of the fast path with that of an exhaustive search at full budget.

Each architecture has ten plans. The fast path is the command `python -m initsearch` with its defaults:
a search by rungs with screening and pruning, a short list, a race with several looks and early stops.
The exhaustive search is the same command without these: all plans enter the race, train on all of its
blocks at full budget, and are compared at one look at the end. Seed, race blocks, alpha and margin are
the same.

A candidate can only race after a search, so the exhaustive run also trains each plan on one search
block. Plans that diverge there do not race and are listed separately. The script checks that no other
plan is missing, that no plan was stopped and that the blocks are the same. The seconds of the
exhaustive run include the search block; its candidate-epochs are counted separately and not compared.

Verdicts agree when their status and winner are equal and, without a winner, their tie sets overlap.
They are opposed when one has a winner that the other shows to be beaten. Regret is how far the fast
path's leader is below the exhaustive leader in the exhaustive race, in points.

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

from initsearch.tasks.data import DataSettings, load_data

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
    """An architecture: its overrides on the command line, and its plans besides the baseline."""

    overrides: str
    plans: Mapping[str, Any]

    @property
    def names(self) -> tuple[str, ...]:
        """All candidates; each is its own family of schemes."""
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
    # Thirty layers without skips or norms: only He keeps the variance of the activations.
    "deep_mlp": Model(
        "model=mlp model.depth=30 optimizer.lr=0.01 optimizer.batch_size=100 race.margin=1.0",
        {**SHARED, "lecun_uniform": "lecun_uniform", "orthogonal": ORTHOGONAL},
    ),
}


def run_both(name: str, seed: int, arguments: argparse.Namespace) -> Pair:
    """Run the fast path and the exhaustive search, in random order."""
    model = MODELS[name]
    plans = ", ".join(f"{key}: {_written(plan)}" for key, plan in model.plans.items())
    overrides = [
        *model.overrides.split(),
        *(f"name={name}", f"seed={seed}", f"workers={arguments.workers}"),
        *(f"baselines=[{BASELINE}]", f"+space.plans={{{plans}}}", f"n_trials={len(model.names)}"),
        *("data=mnist", "data.fallback=null", f"data.train_size={arguments.images}"),
        *(f"data.val_size={arguments.validation}", f"max_epochs={arguments.epochs}"),
        f"race.max_seeds={arguments.blocks}",
        f"data.root={DataSettings(root=arguments.data_root).folder.resolve()}",
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
    say(f"{name}, seed {seed}: the verdicts {agreed}. {'. '.join(verdicts)}")
    return pair


def section(name: str, pairs: Sequence[Pair]) -> tuple[str, str]:
    """The part of the report about one architecture."""
    rows: list[tuple[object, ...]] = []
    notes = []
    for pair in pairs:
        for way, run in (("fast", pair.fast), ("exhaustive", pair.full)):
            verdict = run.verdict
            outcome = (verdict["status"], ", ".join(verdict["tie_set"]), verdict["sentence"])
            epochs = [f"{each:g}" for each in trained(run)]
            seconds = [f"{each:.1f}" for each in (run.cost.wall, run.cost.cpu)]
            rows.append((pair.seed, way, *outcome, *epochs, *seconds))
        notes.append(
            f"Seed {pair.seed}: {'agree' if pair.agree else 'differ'}"
            f"{', opposed' if pair.opposed else ''}; regret {pair.regret:.2g} points; "
            f"{same_scores(pair)} scores of the fast race equal those of the exhaustive race; diverged "
            f"before the exhaustive race: {', '.join(diverged(pair.full)) or 'none'}."
        )
        if not pair.agree:
            notes.append(explain(pair))
    headers = ["seed", "way", "status", "winner or tie set", "sentence"]
    headers += ["search candidate-epochs", "race candidate-epochs", "wall s", "CPU s"]
    return name, "\n\n".join([table(headers, rows), *notes])


def overall(found: Mapping[str, Sequence[Pair]]) -> str:
    """Counts of agreement, and how much training and time the fast path saves."""
    rows = []
    for name, pairs in found.items():
        fast, full = [p.fast.cost for p in pairs], [p.full.cost for p in pairs]
        ratios = (
            ratio([trained(p.full)[1] for p in pairs], [sum(trained(p.fast)) for p in pairs]),
            ratio(walls(full), walls(fast)),
            ratio(cpus(full), cpus(fast)),
        )
        agreed = f"{sum(p.agree for p in pairs)} of {len(pairs)}"
        statuses = ", ".join(p.full.verdict["status"] for p in pairs)
        rows.append((name, agreed, statuses, max(p.regret for p in pairs), *ratios))
    every = [pair for pairs in found.values() for pair in pairs]
    count = sum(pair.agree for pair in every)
    interval = stats.binomtest(count, len(every)).proportion_ci(0.95, method="exact")
    text = (
        f"{count} of {len(every)} verdicts agree (95% Clopper-Pearson interval: {interval.low:.2f} "
        f"to {interval.high:.2f}, which treats the seeds of an architecture as independent); "
        f"{sum(pair.opposed for pair in every)} are opposed. Ratios are exhaustive to fast, "
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
        "--seeds", nargs="+", type=int, help="study seeds, one round each (default: 0 1)"
    )
    arguments_of.add_argument(
        "--data-root", help="the folder of MNIST (default: that of `data.root`)"
    )
    arguments_of.add_argument("--images", type=int, default=6_000, help="training images")
    arguments_of.add_argument("--validation", type=int, default=4_000, help="validation images")
    arguments_of.add_argument("--epochs", type=int, default=4)
    arguments_of.add_argument("--blocks", type=int, default=12, help="maximum blocks of the race")
    arguments_of.add_argument("--workers", type=int, default=cores(), help="training processes")
    arguments_of.add_argument(
        "--override", action="append", default=[], help="another override of both runs; repeatable"
    )
    arguments = arguments_of.parse_args()
    arguments.models = arguments.models or (["relu_mlp"] if arguments.quick else list(MODELS))
    if arguments.quick:
        arguments.images, arguments.validation, arguments.epochs = 512, 256, 1
        arguments.blocks = 6
    arguments.rounds = arguments.rounds or (1 if arguments.quick else 2)
    seeds = arguments.seeds or list(range(arguments.rounds))
    load_data(DataSettings(name="mnist", root=arguments.data_root))  # download it first
    found = {name: [run_both(name, seed, arguments) for seed in seeds] for name in arguments.models}
    sections = [("overall", overall(found))]
    sections += [section(name, pairs) for name, pairs in found.items()]
    publish("The fast path against an exhaustive search", sections, {"pairs": found}, arguments)


if __name__ == "__main__":
    main()
