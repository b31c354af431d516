"""An ordinary Lightning project: a module with all that training usually has, its data, its Trainer."""

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset, random_split
from torchmetrics.classification import MulticlassAccuracy


class Net(pl.LightningModule):
    """Adam with a schedule by step, dropout, batch norm, a torchmetric, a hook that counts epochs."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(4, width),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, 3),
        )
        self.accuracy = MulticlassAccuracy(3)
        self.epochs_seen = 0

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.body(x)
        return scores

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        loss = F.cross_entropy(self(x), y)
        self.log("train/loss", loss)
        return loss

    def on_train_epoch_end(self) -> None:
        self.epochs_seen += 1

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        x, y = batch
        scores = self(x)
        self.accuracy(scores, y)
        self.log("val/acc", self.accuracy)
        self.log("val/loss", F.cross_entropy(scores, y))

    def configure_optimizers(self) -> Any:
        decayed = [p for p in self.parameters() if p.ndim > 1]
        others = [p for p in self.parameters() if p.ndim < 2]
        groups = [{"params": decayed, "weight_decay": 0.1}, {"params": others}]
        optimizer = torch.optim.AdamW(groups, lr=0.03)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.03, total_steps=steps)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


class Blobs(pl.LightningDataModule):
    """Three overlapping clouds; the split is drawn in `setup`, from the global generator."""

    def __init__(self, size: int = 96) -> None:
        super().__init__()
        self.size = size

    def setup(self, stage: str) -> None:
        noise = torch.Generator().manual_seed(0)
        y = torch.arange(self.size) % 3
        x = torch.randn(self.size, 4, generator=noise, dtype=torch.float64)
        x = x + F.one_hot(y, 4) * 1.5
        self.train, self.val = random_split(TensorDataset(x, y), [0.75, 0.25])

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.train, batch_size=8, shuffle=True)

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.val, batch_size=24)


def make_trainer(**given: Any) -> pl.Trainer:
    """The user's Trainer: double precision, clipping, accumulation."""
    plain: dict[str, Any] = {
        "max_epochs": 4,
        "accelerator": "cpu",
        "precision": "64-true",
        "gradient_clip_val": 0.5,
        "accumulate_grad_batches": 2,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return pl.Trainer(**(plain | given))
