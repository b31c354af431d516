"""A user's own LightningModule is trained as the user's own Trainer trains it."""

import copy
import math
import os
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from lightning_project import Blobs, Net, make_trainer
from torch import nn

from initsearch import InitCallback
from initsearch.plan import InitPlan
from initsearch.tasks.lightning import LightningTask
from initsearch.tasks.lightning_fit import UsersFit

PLAN = InitPlan.from_spec("he_normal")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")


@pytest.fixture(autouse=True)
def seeds_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """`seed_everything` sets them: they are put back after each test."""
    for name in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS"):
        monkeypatch.setenv(name, "0")


def make_task(model: Any = Net, metric: str = "val/loss", **trainer: Any) -> LightningTask:
    users = UsersFit(model, make_trainer(**trainer), {"datamodule": Blobs()})
    return LightningTask.probed(users, metric)


def users_own(
    seed: int, plan: InitPlan = PLAN, model: nn.Module | None = None, **given: Any
) -> Any:
    """What the user would write: the metrics after the fit."""
    pl.seed_everything(seed, workers=True, verbose=False)
    net = Net() if model is None else model
    callbacks = [InitCallback(plan, seed=seed), *given.pop("callbacks", [])]
    trainer = make_trainer(callbacks=callbacks, **given)
    trainer.fit(net, datamodule=Blobs())
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


@pytest.mark.parametrize("seed", [3, 1004])
@pytest.mark.parametrize("metric", ["val/loss", "val/acc"])
def test_scores_are_those_of_the_users_own_fit(seed: int, metric: str) -> None:
    task = make_task(metric=metric)
    assert task.epochs == 4
    (measured,) = task.train(PLAN, seed, [4.0])
    assert measured.scores == {metric: users_own(seed)[metric]}


def test_a_module_that_is_passed_is_copied_and_left_as_it_is() -> None:
    net = Net()
    net.body[0] = nn.Linear(4, 8, bias=False)  # no hyperparameter says so
    before = copy.deepcopy(net.state_dict())
    (measured,) = make_task(net).train(PLAN, 5, [4.0])
    assert measured.scores["val/loss"] == users_own(5, model=copy.deepcopy(net))["val/loss"]
    assert net.epochs_seen == 0
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name])


def test_a_smaller_budget_ends_at_the_epoch_where_the_whole_fit_would_have_been() -> None:
    task = make_task()
    whole = task.train(PLAN, 3, [1.0, 2.0, 4.0])
    (short,) = task.train(PLAN, 3, [2.0])
    assert [one.budget for one in whole] == [1.0, 2.0, 4.0]
    assert short.scores == whole[1].scores
    assert len({one.scores["val/loss"] for one in whole}) == 3


def test_candidates_of_a_seed_share_data_order_and_noise() -> None:
    task = make_task()
    zeros = InitPlan.from_spec("zeros")
    # Both plans are the same one under two names, drawn with the same seed.
    again = InitPlan.from_spec({"rules": [{"weight": "he_normal", "bias": "zeros"}]})
    first, _, second = (task.train(plan, 7, [4.0]) for plan in (PLAN, zeros, again))
    assert first == second


def test_the_global_random_state_is_left_to_the_caller_by_the_probe(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    make_task()
    assert torch.equal(torch.rand(2), expected)
    assert "PL_GLOBAL_SEED" not in os.environ


def test_early_stopping_ends_a_fit_as_it_ends_the_users(tmp_path: Path) -> None:
    callbacks = [
        EarlyStopping("val/loss", patience=0, min_delta=10.0),
        ModelCheckpoint(tmp_path / "checkpoints", monitor="val/loss"),
    ]
    task = make_task(callbacks=callbacks, enable_checkpointing=True)
    measured = task.train(PLAN, 3, [1.0, 4.0])
    own = users_own(3, callbacks=[copy.deepcopy(callbacks[0])])
    assert measured[-1].scores["val/loss"] == own["val/loss"]
    assert not (tmp_path / "checkpoints").exists()


class Logging(Net):
    """It uses its logger, and has a checkpoint of its own."""

    def on_train_start(self) -> None:
        self.logger.log_metrics({"started": 1.0})  # type: ignore[union-attr]

    def configure_callbacks(self) -> list[pl.Callback]:
        return [ModelCheckpoint(monitor="val/loss")]


def test_a_search_writes_none_of_the_users_logs_and_checkpoints(tmp_path: Path) -> None:
    trainer: dict[str, Any] = {"logger": CSVLogger(tmp_path), "default_root_dir": tmp_path}
    task = make_task(Logging, max_epochs=1, enable_checkpointing=True, **trainer)
    assert math.isfinite(task.train(PLAN, 0, [1.0])[0].scores["val/loss"])
    assert list(tmp_path.rglob("*")) == []


class Overflowing(Net):
    """Its first step leaves no weight finite, though accuracy stays a number."""

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=float("inf"))


def test_a_fit_whose_weights_are_not_finite_has_diverged_and_ends() -> None:
    task = make_task(Overflowing, "val/acc", max_epochs=10_000)
    (measured,) = task.train(PLAN, 0, [10_000.0])
    assert math.isnan(measured.scores["val/acc"])


def test_the_slots_are_those_of_the_module_traced_with_a_training_batch() -> None:
    by_name = {slot.name: slot for slot in make_task().slots()}
    assert by_name["body.0.weight"].activation == "relu"
    assert by_name["body.6.weight"].role == "head"
