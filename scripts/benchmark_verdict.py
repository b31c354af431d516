"""Compare the time to a verdict of three procedures at the same alpha and power.

B0: Optuna's `study.optimize`, one Lightning Trainer per trial, torchvision's MNIST with `ToTensor`
    in a DataLoader, MedianPruner.
B1: a careful user: Lightning, images in memory, no logger, a fixed number of paired seeds.
Ours: the command `python -m initsearch +sweep=...`, from its start to the verdict.

B0 would take hours, so its total and that of B1 are extrapolated: the measured warm cost of one
candidate on one seed, times the computed number of candidate-seeds (see `verdict_accounts.py`). Each
round runs the whole search and, side by side with it, one candidate on one seed at full budget of B0
and of B1. Each runs in its own process and is timed cold (including what a process does only once) and
warm. B0 and B1 run one process, with the number of threads (and of DataLoader workers) that a probe
found fastest. The output marks each number as measured, counted, computed or extrapolated.

The ladder shows what each step contributes on its own. Measured steps are ratios of the cost of one
candidate on one seed, interleaved; counted steps are ratios of numbers of candidate-seeds.

    python scripts/benchmark_verdict.py --data-root ../data --output /tmp/verdict
    python scripts/benchmark_verdict.py --models convnet --override race.margin=0.3
"""

import argparse
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from benchmarking import cores, parser, publish, say
from verdict_accounts import Run, account, run_search
from verdict_baselines import Setting
from verdict_contenders import OURS, Order, Timed, run_order
from verdict_report import describe, ladder, larger, totals, units

from initsearch.tasks.data import DataSettings, load_data


@dataclass(frozen=True)
class Model:
    """An architecture to compare the procedures on.

    Attributes:
        spec: The model's settings, as `build_model` takes them.
        overrides: The command line of the search.
        share: The share of the epochs that our contenders train for the ladder.
        aims: The target speed-up of the search over B0 and B1 on two cores.
    """

    spec: dict[str, Any]
    overrides: tuple[str, ...]
    share: float
    aims: dict[str, int]


MODELS = {
    "mlp": Model(
        {"name": "mlp", "depth": 2, "width": 128}, ("+sweep=relu_mlp",), 1.0, {"B0": 100, "B1": 20}
    ),
    "convnet": Model(
        {"name": "convnet", "depth": 4, "width": 16},
        ("+sweep=relu_convnet", "model.width=16", "data.image_size=null"),
        0.25,
        {"B0": 20, "B1": 10},
    ),
}


#: The share of the epochs in bfloat16, which takes ten times as long on a CPU without units for it.
BF16_SHARE = 0.1
#: Trials of the search: as many as in the example that B0 follows (optuna-examples,
#: pytorch_lightning_simple.py), without its time-out of ten minutes.
TRIALS = 100


def fastest(name: str, setting: Setting) -> Order:
    """B0 or B1 with the threads and DataLoader workers that train one epoch fastest."""
    loaders = sorted({0, 1, cores()}) if name == "B0" else [0]
    best: tuple[float, Order] | None = None
    for threads in sorted({1, cores()}):
        for workers in loaders:
            order = Order(name, asdict(replace(setting, workers=workers)), threads)
            probe = replace(order, setting={**order.setting, "epochs": 1})
            seconds = run_order(probe).warm.wall
            if best is None or seconds < best[0]:
                best = seconds, order
    assert best is not None
    return best[1]


def measure(
    orders: dict[str, Order], overrides: Sequence[str], rounds: int
) -> tuple[dict[str, list[Timed]], list[Run]]:
    """Time every contender and the whole search once per round, in random order."""
    timed: dict[str, list[Timed]] = {name: [] for name in orders}
    runs: list[Run] = []
    draw = random.Random(0)
    for number in range(1, rounds + 1):
        for name in draw.sample([*orders, "search"], len(orders) + 1):
            if name == "search":
                runs.append(run_search(overrides))
                scope, cost = f"to its verdict ({runs[-1].verdict['status']})", runs[-1].cost
            else:
                timed[name].append(run_order(orders[name]))
                scope, cost = "per candidate and seed, warm", timed[name][-1].warm
            say(
                f"round {number} of {rounds}: {name} {cost.wall:.3g} s wall, {cost.cpu:.3g} s CPU {scope}"
            )
    return timed, runs


def compare(
    name: str, arguments: argparse.Namespace
) -> tuple[list[tuple[str, str]], dict[str, Any]]:
    """Compare the procedures on one architecture; the sections of the report, and the numbers."""
    model, root = MODELS[name], str(DataSettings(root=arguments.data_root).folder.resolve())
    setting = Setting(
        model.spec, root, arguments.images, arguments.validation, epochs=arguments.epochs
    )
    overrides = [
        *model.overrides,
        *(f"data.{key}={value}" for key, value in (("root", root), ("fallback", "null"))),
        *(
            f"data.{key}_size={size}"
            for key, size in (("train", setting.images), ("val", setting.validation))
        ),
        f"optimizer.batch_size={setting.batch}",
        f"max_epochs={setting.epochs}",
        f"n_trials={arguments.trials}",
        f"workers={cores()}",
        *arguments.override,
    ]
    baselines = {
        each: Order(each, asdict(setting)) if arguments.quick else fastest(each, setting)
        for each in ("B0", "B1")
    }
    parts = ["loop"] if arguments.quick else list(OURS)
    share = 1.0 if arguments.quick else model.share
    shares = dict.fromkeys(parts, share) | {"bf16": min(share, BF16_SHARE)}
    orders = baselines | {each: Order(each, asdict(setting), share=shares[each]) for each in parts}
    timed, runs = measure(orders, overrides, arguments.rounds)
    counted = account(runs[0], arguments.power)
    sections = [
        (f"{name}: the question", describe(counted, runs)),
        (f"{name}: time to the verdict", totals(model.aims, counted, timed, runs)),
        (
            f"{name}: the same question with more candidates (extrapolated)",
            larger(counted, timed, runs),
        ),
        (f"{name}: one candidate on one seed (measured)", units(orders, timed)),
        (f"{name}: the ladder", ladder(counted, timed)),
    ]
    facts = {
        "account": counted,
        "overrides": overrides,
        "units": timed,
        "search": [run.cost for run in runs],
        "verdict": runs[0].verdict,
    }
    return sections, facts


def main() -> None:
    """Compare the procedures on each architecture."""
    arguments_of = parser(__doc__)
    arguments_of.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    arguments_of.add_argument(
        "--data-root", help="the folder of MNIST (default: that of `data.root`)"
    )
    arguments_of.add_argument("--images", type=int, default=12_000, help="training images")
    arguments_of.add_argument("--validation", type=int, default=4_000, help="validation images")
    arguments_of.add_argument("--epochs", type=int, default=3)
    arguments_of.add_argument("--trials", type=int, default=TRIALS, help="candidates of the search")
    arguments_of.add_argument("--power", type=float, default=0.8)
    arguments_of.add_argument(
        "--override",
        action="append",
        default=[],
        help="another override of the search; repeatable",
    )
    arguments = arguments_of.parse_args()
    arguments.rounds = arguments.rounds or (1 if arguments.quick else 3)
    if arguments.quick:
        arguments.models, arguments.images, arguments.validation = ["mlp"], 512, 256
        arguments.epochs, arguments.trials = 1, 4
        arguments.override += ["race.max_seeds=3", "race.shortlist=1", "space.lr=null"]
    load_data(DataSettings(name="mnist", root=arguments.data_root))  # download it before timing
    sections: list[tuple[str, str]] = []
    facts: dict[str, Any] = {}
    for name in arguments.models:
        found, facts[name] = compare(name, arguments)
        sections += found
    publish("Time to the same verdict", sections, facts, arguments)


if __name__ == "__main__":
    main()
