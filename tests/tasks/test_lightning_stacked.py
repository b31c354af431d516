"""Training steps that are one pass for all candidates give the scores of each candidate's own fit."""

import dataclasses
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning_project import Blobs, Net, make_trainer
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

from initsearch import InitCallback
from initsearch.plan import InitPlan
from initsearch.tasks import Entry
from initsearch.tasks.lightning import LightningTask
from initsearch.tasks.lightning_engines import ChosenEngine, choose_engine
from initsearch.tasks.lightning_fit import UsersFit

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
PLANS = [InitPlan.from_spec(name) for name in ("he_normal", "glorot_uniform", "orthogonal")]
STACKED = ChosenEngine("stacked", "asked for")


@pytest.fixture(autouse=True)
def seeds_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS"):
        monkeypatch.setenv(name, "0")


class Logged(Net):
    """Also in training: metrics that are logged in several ways, an output with more than the loss.

    Its teacher is a moving average without gradients, and no loss depends on one of its layers.
    """

    steps = 0

    def __init__(self) -> None:
        super().__init__()
        self.lr = 0.03
        self.several = MetricCollection(
            [MulticlassAccuracy(3), MulticlassF1Score(3)], prefix="train/"
        )
        self.teacher = nn.Linear(4, 3).requires_grad_(False)
        self.student = nn.Linear(4, 3)
        self.unused = nn.Linear(2, 2)
        self.outputs_seen = 0.0

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Any:
        type(self).steps += 1
        x, y = batch
        scores = self(x)
        with torch.no_grad():
            for slow, fast in zip(
                self.teacher.parameters(), self.student.parameters(), strict=True
            ):
                slow.mul_(0.9).add_(0.1 * fast)
        loss = F.cross_entropy(scores, y) + F.mse_loss(self.student(x), scores + self.teacher(x))
        now = self.accuracy(scores, y)
        self.log("train/acc_now", now)
        self.log_dict(self.several(scores, y), on_step=False, on_epoch=True)
        self.log("train/loss", loss, on_step=False, on_epoch=True)
        return {"loss": loss, "scores": scores}

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.outputs_seen += float(outputs["scores"].square().mean())
        self.log("outputs", self.outputs_seen)


def everything(metrics: dict[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items()}


def test_trainer_loop_and_stacked_and_the_users_own_fit_have_the_same_scores() -> None:
    users = UsersFit(Logged, make_trainer(max_epochs=2), {"datamodule": Blobs(48)})
    task = LightningTask.probed(users, "val/loss", engine="stacked")
    assert task.engine.name == "stacked", task.engine.reason
    entries = [Entry(plan) for plan in PLANS]
    Logged.steps = 0
    stacked = task.train_together(entries, 3, [1.0, 2.0])
    at_once, Logged.steps = Logged.steps, 0
    assert stacked.engine == "stacked"
    loop = dataclasses.replace(task, engine=ChosenEngine("loop", "")).train_together(
        entries, 3, [1.0, 2.0]
    )
    # Of two of three candidates: 2 epochs of 5 batches.
    assert Logged.steps - at_once == 2 * 2 * 5
    for plan, one, other in zip(PLANS, stacked.measured, loop.measured, strict=True):
        assert other == task.train(plan, 3, [1.0, 2.0])
        for measured, expected in zip(one, other, strict=True):
            assert measured.scores == pytest.approx(expected.scores, rel=1e-6)
    pl.seed_everything(3, workers=True, verbose=False)
    own = make_trainer(max_epochs=2, callbacks=[InitCallback(PLANS[0], seed=3)])
    own.fit(Logged(), datamodule=Blobs(48))
    assert stacked.measured[0][-1].scores["val/loss"] == pytest.approx(
        float(own.callback_metrics["val/loss"]), rel=1e-6
    )


def test_all_that_is_logged_is_what_a_fit_alone_logs() -> None:
    users = UsersFit(Logged, make_trainer(max_epochs=1), {"datamodule": Blobs(48)})
    callbacks = [[InitCallback(plan, seed=3)] for plan in PLANS[:2]]
    together = users.run_together(3, callbacks, rates=(0.03, 0.01), stacked=True)
    for one, plan, lr in zip(together, PLANS, (0.03, 0.01), strict=False):
        assert one is not None
        trainer, _ = users.run(3, [InitCallback(plan, seed=3)], lr=lr)
        expected = everything(trainer.callback_metrics)
        assert {"train/acc_now", "train/MulticlassF1Score", "outputs"} < expected.keys()
        assert everything(one[0].callback_metrics) == pytest.approx(expected, rel=1e-6)


class ByHand(Net):
    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: list[Tensor], batch_idx: int) -> None:  # type: ignore[override]
        optimizer: Any = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(super().training_step(batch, batch_idx))
        optimizer.step()


class Reading(Net):
    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        return loss if loss.item() > 0.0 else 2 * loss


class Counting(Net):
    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        self.epochs_seen += 1
        return super().training_step(batch, batch_idx)


class Changing(Net):
    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        batch[0].mul_(0.5)
        return super().training_step(batch, batch_idx)


class Clamping(Net):
    """Its weights are far below the limit in the first steps."""

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        with torch.no_grad():
            self.body[0].weight.clamp_(-100.0, 100.0)
        return super().training_step(batch, batch_idx)


class Weighted(Net):
    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return super().training_step(batch, batch_idx) * self.accuracy(self(batch[0]), batch[1])


class Noisy(Net):
    """Attention draws a mask of its own for each candidate of a stack."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, dropout=0.5, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.unsqueeze(1).expand(-1, 3, -1)
        return super().forward(
            self.attention(tokens, tokens, tokens, need_weights=False)[0].mean(1)
        )


class OfItsRate(Net):
    lr = 0.03

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return super().training_step(batch, batch_idx) * self.lr


PLAIN = {"gradient_clip_val": None, "accumulate_grad_batches": 1}


@pytest.mark.parametrize(
    ("model", "trainer", "reason"),
    [
        (ByHand, PLAIN, "the module optimizes by hand"),
        (Reading, {}, "calling .item() on a Tensor"),
        (Counting, {}, "training_step changes the attribute epochs_seen"),
        (Changing, {}, "training_step changes its batch or"),
        (Clamping, {}, "or parameters that are trained"),
        (Weighted, {}, "MetricValue"),
        (Noisy, {}, "has other values after a few steps"),
        (OfItsRate, {}, "has other values after a few steps"),
    ],
)
def test_what_cannot_be_stacked_takes_turns(
    model: type[pl.LightningModule], trainer: dict[str, Any], reason: str
) -> None:
    users = UsersFit(model, make_trainer(max_epochs=1, **trainer), {"datamodule": Blobs(24)})
    chosen = choose_engine(users, "stacked", rates=(0.03, 0.01) if model is OfItsRate else ())
    assert chosen.name == "loop"
    assert reason in chosen.reason
    assert "\n" not in chosen.reason


class ReadingLater(Net):
    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        return loss if self.current_epoch == 0 or loss.item() > 0.0 else 2 * loss


def test_a_step_that_fails_later_is_told_and_all_take_turns() -> None:
    users = UsersFit(ReadingLater, make_trainer(max_epochs=2), {"datamodule": Blobs(24)})
    task = dataclasses.replace(LightningTask.probed(users, "val/loss"), engine=STACKED)
    trained = task.train_together([Entry(plan) for plan in PLANS[:2]], 3, [2.0])
    assert trained.engine == "loop"
    assert trained.reason.startswith(
        "stacked was asked for, but after some steps RuntimeError: vmap"
    )
    assert trained.measured == [task.train(plan, 3, [2.0]) for plan in PLANS[:2]]


def test_a_candidate_that_ends_early_leaves_the_others_as_they_are() -> None:
    trainer = make_trainer(
        max_epochs=3, callbacks=[pl.callbacks.EarlyStopping("val/loss", patience=0)]
    )
    users = UsersFit(Net, trainer, {"datamodule": Blobs(24)})
    plans = [InitPlan.from_spec(name) for name in ("zeros", "he_normal", "orthogonal")]
    task = dataclasses.replace(LightningTask.probed(users, "val/loss"), engine=STACKED)
    trained = task.train_together([Entry(plan) for plan in plans], 3, [3.0])
    assert trained.engine == "stacked"
    for plan, (measured,) in zip(plans, trained.measured, strict=True):
        (expected,) = task.train(plan, 3, [3.0])
        assert measured.scores == pytest.approx(expected.scores, rel=1e-6)
