"""Fits in lockstep give what each fit gives alone, and load the data once."""

import threading
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping
from lightning_project import Blobs, Net, make_trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from initsearch.plan import InitPlan
from initsearch.tasks import Entry
from initsearch.tasks.lightning import LightningTask
from initsearch.tasks.lightning_engines import choose_engine
from initsearch.tasks.lightning_fit import UsersFit
from initsearch.tasks.lockstep import Lockstep, NotSharedError

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
PLANS = [InitPlan.from_spec(name) for name in ("he_normal", "zeros", "orthogonal")]
ENTRIES = [Entry(plan) for plan in PLANS]


@pytest.fixture(autouse=True)
def seeds_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS"):
        monkeypatch.setenv(name, "0")


class Counted(Dataset[tuple[Tensor, int]]):
    """Its items are noise, drawn when they are loaded, around one of three points."""

    loaded = 0

    def __len__(self) -> int:
        return 24

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        Counted.loaded += 1
        return torch.randn(4, dtype=torch.float64) + index % 3, index % 3


def loaders() -> dict[str, Any]:
    """The training loader draws its order from a generator of its own."""
    order = torch.Generator().manual_seed(7)
    return {
        "train_dataloaders": DataLoader(Counted(), 8, shuffle=True, generator=order),
        "val_dataloaders": DataLoader(Counted(), 12),
    }


def both(model: Any, data: dict[str, Any] | None = None, **trainer: Any) -> tuple[list[Any], Any]:
    """What each fit measures alone, and what all measure in lockstep."""
    users = UsersFit(
        model, make_trainer(**{"max_epochs": 2} | trainer), data or {"datamodule": Blobs()}
    )
    alone = LightningTask.probed(users, "val/loss")
    loop = LightningTask.probed(users, "val/loss", engine="loop")
    assert loop.engine.name == "loop", loop.engine.reason
    budgets = [1.0, float(trainer.get("max_epochs", 2))]
    alone_measured = [alone.train(plan, 3, budgets) for plan in PLANS]
    return alone_measured, loop.train_together(ENTRIES, 3, budgets)


class OnPlateau(Net):
    """Its rate falls when the validation loss does not."""

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.5)
        schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "monitor": "val/loss"},
        }


class ByHand(Net):
    """Two optimizers, stepped by hand; its own loaders; it changes its batches."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: list[Tensor], batch_idx: int) -> None:  # type: ignore[override]
        batch[0].mul_(0.5)
        for optimizer in self.optimizers():  # type: ignore[union-attr]
            optimizer.zero_grad()
            self.manual_backward(nn.functional.cross_entropy(self(batch[0]), batch[1]))
            optimizer.step()

    def configure_optimizers(self) -> Any:
        layers = [self.body[0], self.body[4]]
        return [torch.optim.Adam(layer.parameters(), 0.01) for layer in layers]

    def train_dataloader(self) -> Any:
        return loaders()["train_dataloaders"]

    def val_dataloader(self) -> Any:
        return [loaders()["val_dataloaders"]]


@pytest.mark.parametrize(
    ("model", "data", "trainer"),
    [
        (Net, None, {}),
        (OnPlateau, loaders(), {}),
        (
            ByHand,
            {"train_dataloaders": None},
            {"gradient_clip_val": None, "accumulate_grad_batches": 1},
        ),
        (Net, None, {"max_epochs": 4, "callbacks": [EarlyStopping("val/loss", patience=0)]}),
    ],
    ids=["by step, clipped, accumulated", "on a plateau", "by hand", "early stopping"],
)
def test_scores_in_lockstep_are_those_of_each_fit_alone(
    model: Any, data: dict[str, Any] | None, trainer: dict[str, Any]
) -> None:
    alone, together = both(model, data, **trainer)
    assert together.measured == alone
    assert together.engine == "loop"
    assert len({str(one) for one in alone}) == len(PLANS)


class BuiltInSetup(Net):
    """It has a `setup` of its own, and takes single precision."""

    def setup(self, stage: str) -> None:
        self.stage = stage

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.to(self.body[0].weight.dtype))


def test_a_plan_that_needs_a_batch_takes_it_without_the_others() -> None:
    users = UsersFit(BuiltInSetup, make_trainer(max_epochs=1, precision="32-true"), loaders())
    plans = [InitPlan.from_spec(name) for name in ("he_normal", "lsuv")]
    entries = [Entry(plan) for plan in plans]
    task = LightningTask.probed(users, "val/loss", engine="loop")
    assert task.engine.name == "loop", task.engine.reason
    Counted.loaded = 0
    together = task.train_together(entries, 3, [1.0])
    assert Counted.loaded < 2 * (24 + 24)  # neither of them was trained alone
    assert together.measured == [task.train(plan, 3, [1.0]) for plan in plans]


def test_a_trainer_of_a_class_of_ones_own_takes_turns() -> None:
    trainer = make_trainer(max_epochs=1)
    trainer.__class__ = type("Mine", (pl.Trainer,), {"__module__": "project.training"})
    chosen = choose_engine(UsersFit(Net, trainer, loaders()), "auto")
    assert chosen.name == "loop", chosen.reason


def test_batches_are_loaded_once_for_all_candidates() -> None:
    users = UsersFit(Net, make_trainer(max_epochs=2, num_sanity_val_steps=0), loaders())
    task = LightningTask.probed(users, "val/loss", engine="loop")
    Counted.loaded = 0
    task.train(PLANS[0], 3, [2.0])
    once = Counted.loaded
    assert once == 2 * (24 + 24)
    task.train_together(ENTRIES, 3, [2.0])
    assert Counted.loaded == 2 * once


class Drawing(Net):
    """Where its weights are zeros, it draws a number more in each step."""

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        if not self.body[0].weight.any():
            torch.rand(1)
        return super().training_step(batch, batch_idx)


def test_a_candidate_with_other_random_numbers_is_trained_alone() -> None:
    alone, together = both(Drawing, loaders())
    assert together.measured == alone


class Counting(Net):
    """All modules of the class count their steps together, and the loss depends on the count."""

    steps = 0

    def on_fit_start(self) -> None:
        type(self).steps = 0

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        type(self).steps += 1
        return super().training_step(batch, batch_idx) * self.steps


class Breaking(Net):
    def on_train_start(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("only in the main thread")


@pytest.mark.parametrize(
    ("model", "trainer", "reason"),
    [
        (Counting, {}, "has other values after a few steps"),
        (Breaking, {}, "only in the main thread"),
        (Net, {"detect_anomaly": True}, "detect_anomaly"),
        (Net, {"profiler": "simple"}, "profiler"),
        (Net, {"overfit_batches": 1}, "overfit_batches"),
    ],
)
def test_what_cannot_take_turns_is_trained_by_fits_of_its_own(
    model: type[pl.LightningModule], trainer: dict[str, Any], reason: str
) -> None:
    users = UsersFit(model, make_trainer(max_epochs=1, **trainer), {"datamodule": Blobs()})
    chosen = choose_engine(users, "auto")
    assert chosen.name == "trainer"
    assert reason in chosen.reason
    assert "\n" not in chosen.reason


def test_the_first_makes_a_value_and_the_others_get_it_with_its_random_numbers() -> None:
    made = []

    def body() -> tuple[float, float]:
        torch.manual_seed(5)
        first = steps.share("noise", lambda: made.append(1) or float(torch.rand(1)))
        return first, float(torch.rand(1))

    steps = Lockstep([body] * 3)
    torch.manual_seed(5)
    expected = (float(torch.rand(1)), float(torch.rand(1)))
    assert steps.run() == [expected] * 3
    assert made == [1]


def test_one_that_needs_something_else_leaves_and_the_others_go_on() -> None:
    def needing(kind: str) -> Any:
        def body() -> str:
            torch.manual_seed(0)
            return str(steps.share(kind, lambda: kind))

        return body

    steps = Lockstep([needing("a"), needing("b"), needing("a")])
    first, second, third = steps.run()
    assert (first, third) == ("a", "a")
    assert isinstance(second, NotSharedError)


def test_an_error_ends_the_others_at_their_next_point() -> None:
    def failing() -> None:
        steps.share("a", lambda: None)
        raise ValueError("mine")

    def patient() -> None:
        for _ in range(1000):
            steps.share("a", lambda: None)

    steps = Lockstep([failing, patient])
    error, other = steps.run()
    assert isinstance(error, ValueError)
    assert isinstance(other, BaseException)
