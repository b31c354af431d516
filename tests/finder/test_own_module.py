"""`init_find` of a LightningModule: the default space, and mistakes reported before any long work."""

import threading
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import pytorch_lightning
import torch
from own_module import Blobs, Gan, Net, make_trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import initsearch
from initsearch.errors import ConfigError, DataError, InitSearchError, ModelError
from initsearch.finder.default_space import default_space
from initsearch.layers import describe
from initsearch.plan import InitPlan
from initsearch.space import Space
from initsearch.tasks import Entry
from initsearch.tasks.lightning import LightningTask
from initsearch.tasks.lightning_fit import UsersFit

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")


def find(model: Any, folder: Path, **given: Any) -> initsearch.InitFindResult:
    plain: dict[str, Any] = {
        "trainer": make_trainer(max_epochs=1),
        "datamodule": Blobs(),
        "metric": "val/acc",
        "mode": "max",
    }
    options = {"output_dir": folder / "out", "progress": False, **(plain | given)}
    return initsearch.init_find(model, **options)


class WithoutLoss(Net):
    def training_step(self, batch: list[Tensor], batch_idx: int) -> None:  # type: ignore[override]
        return None


class WithoutValidationStep(Net):
    validation_step = pl.LightningModule.validation_step


class WithoutOptimizer(Net):
    def configure_optimizers(self) -> None:
        return None


class Broken(Net):
    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        raise ZeroDivisionError("by\nnothing")


class WithLock(Net):
    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()


class WithoutValidation(Blobs):
    val_dataloader = pl.LightningDataModule.val_dataloader


class Locked(Blobs):
    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()


@pytest.mark.parametrize(
    ("model", "given", "error", "words"),
    [
        (Net, {"metric": "val/accuracy"}, ConfigError, r"'val/accuracy': did you mean val/acc"),
        (Net, {"metric": "f1"}, ConfigError, r"'f1'.*train/loss, val/acc, val/loss"),
        (Net, {"metric": None}, ConfigError, "metric and mode must be given"),
        (Net, {"mode": None}, ConfigError, "metric and mode must be given"),
        (Net, {"mode": "highest"}, ConfigError, "unknown mode 'highest'"),
        (Net, {"datamodule": WithoutValidation()}, DataError, "validation data.*val_dataloader"),
        (WithoutValidationStep, {}, DataError, r"validation_step\(\)"),
        (WithoutLoss, {}, ModelError, "return the loss from training_step"),
        (WithoutOptimizer, {}, ModelError, "optimizer.*from configure_optimizers"),
        (Broken, {}, ModelError, r"ZeroDivisionError: by \(test_own_module.py, line \d+\)"),
        (WithLock(), {}, ConfigError, "model must be something that can be copied.*lambda"),
        (Net, {"datamodule": Locked()}, ConfigError, r"datamodule .*setup\(\)"),
        (Net(), {"trainer": None}, ConfigError, "trainer must be given"),
        (3, {}, ConfigError, "model must be a LightningModule"),
        (lambda: 3, {}, ModelError, "LightningModule"),
        (Net, {"trainer": make_trainer(max_epochs=-1)}, ConfigError, "trainer must end"),
    ],
)
def test_a_mistake_is_reported_in_one_line_before_any_candidate_trains(
    model: Any, given: dict[str, Any], error: type[InitSearchError], words: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=words) as raised:
        find(model, tmp_path, **given)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_a_trainer_that_has_trained_is_refused(tmp_path: Path) -> None:
    used = make_trainer(max_epochs=1)
    used.fit(Net(), datamodule=Blobs())
    with pytest.raises(ConfigError, match="trainer must be a new one"):
        find(Net, tmp_path, trainer=used)


@pytest.mark.parametrize(
    ("activation", "schemes"),
    [
        (nn.ReLU(), {"he_normal", "he_uniform", "glorot_uniform", "orthogonal"}),
        (nn.Tanh(), {"glorot_normal", "lecun_normal", "glorot_uniform", "orthogonal"}),
        (nn.SELU(), {"lecun_normal", "lecun_uniform", "glorot_uniform", "orthogonal"}),
        (nn.SiLU(), {"activation_scaling", "he_normal", "glorot_uniform", "orthogonal"}),
    ],
)
def test_the_default_space_suits_the_activation(activation: nn.Module, schemes: set[str]) -> None:
    model = nn.Sequential(nn.Linear(4, 8), activation, nn.Linear(8, 8), activation, nn.Linear(8, 2))
    space = Space.from_spec(default_space(describe(model)))
    (group,) = space.groups
    assert {trial[f"{group.name}.scheme"] for trial in space.grid()} == schemes
    assert space.without_effect(describe(model)) == []


def test_a_model_without_known_activations_needs_a_space() -> None:
    with pytest.raises(ConfigError, match="space must be given"):
        default_space(describe(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))))


def test_manual_optimization_with_two_optimizers_is_trained() -> None:
    x = torch.randn(32, 2, generator=torch.Generator().manual_seed(0))
    data = DataLoader(TensorDataset(x), batch_size=8, shuffle=True)
    trainer = make_trainer(
        max_epochs=2, precision="32-true", gradient_clip_val=None, accumulate_grad_batches=1
    )
    users = UsersFit(Gan, trainer, {"train_dataloaders": data, "val_dataloaders": data})
    task = LightningTask.probed(users, "val/distance")
    plan = InitPlan.from_spec("he_normal")
    first, second, other = (task.train(plan, seed, [2.0]) for seed in (1, 1, 2))
    assert first == second != other


def test_a_project_of_pytorch_lightning_is_trained_too() -> None:
    class Regression(pytorch_lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 1))

        def forward(self, x: Tensor) -> Tensor:
            return self.body(x)

        def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
            return (self(batch[0]) - batch[0].sin()).square().mean()

        def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
            self.log("error", self.training_step(batch, batch_idx))

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), 0.1)

    data = DataLoader(TensorDataset(torch.linspace(-3, 3, 16)[:, None]), batch_size=4)
    trainer = pytorch_lightning.Trainer(
        max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    users = UsersFit(Regression, trainer, {"train_dataloaders": data, "val_dataloaders": data})
    task = LightningTask.probed(users, "error", engine="loop")
    plans = [InitPlan.from_spec(name) for name in ("glorot_normal", "orthogonal")]
    together = task.train_together([Entry(plan) for plan in plans], 0, [2.0])
    assert together.engine == "loop"
    assert together.measured == [task.train(plan, 0, [2.0]) for plan in plans]
    assert all(0 < measured[0].scores["error"] < 2 for measured in together.measured)
