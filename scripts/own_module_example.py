"""An ordinary Lightning project that searches its own initialization with five lines.

    python scripts/own_module_example.py

Twelve ReLU layers on scikit-learn's digits, with a loss, an optimizer and a schedule of their own. As torch
initializes them, they do not train. The five lines are marked. It takes less than a minute, and prints the
verdict and the accuracy.
"""

import itertools
from typing import Any

import lightning.pytorch as pl
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset, random_split

import initsearch  # 1


class Classifier(pl.LightningModule):
    """Deep enough for the initialization to matter."""

    def __init__(self, depth: int = 12, width: int = 64) -> None:
        super().__init__()
        sizes = [64, *[width] * depth]
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.hidden:
            x = F.relu(layer(x))
        logits: Tensor = self.head(x)
        return logits

    def training_step(self, batch: list[Tensor], _: int) -> Tensor:
        x, y = batch
        return F.cross_entropy(self(x), y)

    def validation_step(self, batch: list[Tensor], _: int) -> None:
        x, y = batch
        self.log("val/acc", (self(x).argmax(1) == y).float().mean())

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=2)
        return {"optimizer": optimizer, "lr_scheduler": schedule}


class Digits(pl.LightningDataModule):
    """Scikit-learn's digits, split once."""

    def setup(self, stage: str) -> None:
        x, y = load_digits(return_X_y=True)
        images = TensorDataset(torch.tensor(x, dtype=torch.float32) / 16, torch.tensor(y))
        fixed = torch.Generator().manual_seed(0)
        self.train, self.val = random_split(images, [1400, 397], generator=fixed)

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(self.train, 64, shuffle=True)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(self.val, 397)


def main() -> float:
    """Search, then train once with the plan that was found; returns the validation accuracy."""
    trainer = pl.Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    setting: Any = {"metric": "val/acc", "mode": "max", "race": {"max_seeds": 4}}  # 2
    found = initsearch.init_find(Classifier, datamodule=Digits(), trainer=trainer, **setting)  # 3
    print(found)  # 4
    pl.seed_everything(0)
    model = Classifier()
    found.suggestion().apply(model, seed=0)  # 5
    trainer.fit(model, datamodule=Digits())
    accuracy = float(trainer.callback_metrics["val/acc"])
    print(f"{found.suggested}: validation accuracy {accuracy:.3f}")
    return accuracy


if __name__ == "__main__":
    main()
