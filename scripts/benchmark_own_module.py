"""How long does a verdict on a user's own LightningModule take, compared with a loop written by hand?

    python scripts/benchmark_own_module.py [--quick]

The project is an ordinary one: twelve ReLU layers on digits, each of which torchvision transforms when it is
loaded. By hand, the careful user trains every plan with Optuna's grid on two seeds, takes the best four and
the model as built to fresh seeds, and compares them by paired t-tests. `init_find` has the same plans, seeds
and alpha. The ladder adds one thing at a time:

- trainer: one `Trainer.fit` after the other, as by hand, with records and figures.
- loop: the fits of a seed take turns on batches that are loaded and transformed once.
- stacked: in place of it, a loop in which the training steps of all fits are one pass of torch.func.
- rungs: with the loop again, weak candidates end at a part of the epochs.
- looks: the race ends as soon as it is decided.
- workers: two processes.

Wall time on a busy machine varies; processor time does less, but does not show what a second process gains.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import lightning.pytorch as pl
import optuna
import torch
from benchmarking import Cost, now, say
from own_module_example import Classifier
from scipy.stats import ttest_rel
from sklearn.datasets import load_digits
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

import initsearch

SCHEMES = ("he_normal", "he_uniform", "glorot_uniform", "lecun_normal", "orthogonal")
ENTRANTS = 4  # besides the model as built, as in the short list of a race
SEARCH_SEEDS = 2
ALPHA = 0.05


class Moved(Dataset[tuple[Tensor, int]]):
    """Digits, each moved and turned a little whenever it is loaded."""

    def __init__(self, first: int, last: int, *, move: bool) -> None:
        x, y = load_digits(return_X_y=True)
        self.images = torch.tensor(x[first:last], dtype=torch.float32).view(-1, 1, 8, 8) / 16
        self.labels = torch.tensor(y[first:last]).tolist()
        turn = [transforms.RandomAffine(10, (0.1, 0.1))] if move else []
        self.transform = transforms.Compose(
            [
                transforms.ToPILImage(),
                *turn,
                transforms.ToTensor(),
                transforms.Lambda(torch.flatten),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.images[index]), self.labels[index]


class MovedDigits(pl.LightningDataModule):
    """The user's data.

    Args:
        size: Digits to train on; 397 others are for validation.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def setup(self, stage: str) -> None:
        self.train, self.val = Moved(0, self.size, move=True), Moved(1400, 1797, move=False)

    def train_dataloader(self) -> DataLoader[tuple[Tensor, int]]:
        return DataLoader(self.train, 64, shuffle=True)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, int]]:
        return DataLoader(self.val, 397)


def make_trainer(epochs: int, callbacks: list[pl.Callback] | None = None) -> pl.Trainer:
    """The user's Trainer, with all off that takes time."""
    return pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def by_hand(size: int, epochs: int, seeds: int) -> str:
    """The careful loop; returns its verdict."""

    def score(scheme: str, seed: int) -> float:
        pl.seed_everything(seed, verbose=False)
        plan = {"rules": [{"where": {"activation": "relu"}, "weight": scheme}]}
        plans: list[pl.Callback] = (
            [] if scheme == "as_built" else [initsearch.InitCallback(plan, seed=seed)]
        )
        trainer = make_trainer(epochs, plans)
        trainer.fit(Classifier(), datamodule=MovedDigits(size))
        return float(trainer.callback_metrics["val/acc"])

    def objective(trial: optuna.Trial) -> float:
        scheme = trial.suggest_categorical("scheme", [*SCHEMES, "as_built"])
        return fmean(score(scheme, seed) for seed in range(SEARCH_SEEDS))

    sampler = optuna.samplers.GridSampler({"scheme": [*SCHEMES, "as_built"]})
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.optimize(objective)
    ranked = sorted(study.trials, key=lambda trial: -float(trial.value or 0.0))
    best = [t.params["scheme"] for t in ranked if t.params["scheme"] != "as_built"][:ENTRANTS]
    raced = {
        scheme: [score(scheme, 1000 + seed) for seed in range(seeds)]
        for scheme in [*best, "as_built"]
    }
    leader = max(raced, key=lambda scheme: fmean(raced[scheme]))
    others = [ttest_rel(raced[leader], raced[one]).pvalue for one in raced if one != leader]
    return f"{leader} is {'the winner' if max(others) < ALPHA else 'not shown to be the best'}"


def found(size: int, epochs: int, seeds: int, engine: str, *ladder: str) -> str:
    """The same by `init_find`; returns its verdict."""
    search: dict[str, Any] = {} if "rungs" in ladder else {"pruner": "none"}
    race: dict[str, Any] = {"max_seeds": seeds, "alpha": ALPHA}
    if "looks" not in ladder:
        race |= {"looks": (seeds,), "futility": 0.0}
    with tempfile.TemporaryDirectory() as folder:
        result = initsearch.init_find(
            Classifier,
            datamodule=MovedDigits(size),
            trainer=make_trainer(epochs),
            metric="val/acc",
            mode="max",
            space={"groups": {"relu": {"where": {"activation": "relu"}, "weight": list(SCHEMES)}}},
            n_trials=len(SCHEMES) + 1,
            search={"seeds": SEARCH_SEEDS, **search},
            race=race,
            engine=engine,
            workers=2 if "workers" in ladder else 1,
            output_dir=Path(folder),
            progress=False,
        )
    return result.verdict.sentence


def main() -> None:
    """Time all, and print the ladder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a smoke run")
    quick = parser.parse_args().quick
    size, epochs, seeds = (128, 2, 4) if quick else (640, 4, 8)
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sizes = (size, epochs, seeds)
    contenders: dict[str, Callable[[], str]] = {
        "by hand": lambda: by_hand(*sizes),
        "trainer": lambda: found(*sizes, "trainer"),
        "+ loop": lambda: found(*sizes, "loop"),
        "stacked": lambda: found(*sizes, "stacked"),
        "+ rungs": lambda: found(*sizes, "loop", "rungs"),
        "+ looks": lambda: found(*sizes, "loop", "rungs", "looks"),
        "+ workers": lambda: found(*sizes, "loop", "rungs", "looks", "workers"),
    }
    costs: dict[str, Cost] = {}
    print(
        f"{size} digits, {epochs} epochs, {len(SCHEMES) + 1} candidates, {seeds} seeds in the race"
    )
    print(f"{'':10}  {'wall (s)':>9}  {'gain':>5}  {'processor (s)':>13}  {'gain':>5}  verdict")
    for name, work in contenders.items():
        say(name)
        begun = now()
        verdict = work()
        costs[name] = now().since(begun)
        first, this = costs["by hand"], costs[name]
        # The time of worker processes is not this process's.
        own = (
            f"{this.cpu:13.1f}  {first.cpu / this.cpu:5.1f}" if name != "+ workers" else f"{'':20}"
        )
        print(
            f"{name:10}  {this.wall:9.1f}  {first.wall / this.wall:5.1f}  {own}  {verdict[:80]}",
            flush=True,
        )


if __name__ == "__main__":
    main()
