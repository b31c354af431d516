"""An ordinary Lightning project that gets an initialization plan with one line.

    python scripts/lightning_example.py                          torch's default
    python scripts/lightning_example.py he_normal                an initializer
    python scripts/lightning_example.py outputs/…/winner.yaml    a plan file that a sweep wrote

Trains on scikit-learn's digits for a few seconds and prints the validation accuracy.
"""

import itertools
import sys

import lightning.pytorch as pl
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset, random_split

from initsearch import InitCallback


class Classifier(pl.LightningModule):
    """Twelve ReLU layers: deep enough for the initialization to matter."""

    def __init__(self, depth: int = 12, width: int = 64) -> None:
        super().__init__()
        self.example_input_array = torch.zeros(1, 64)
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
        self.log("val_accuracy", (self(x).argmax(1) == y).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.02, momentum=0.9)


def main(plan: str) -> None:
    """Train the classifier, initialized by the plan, and print its validation accuracy."""
    pl.seed_everything(0)
    x, y = load_digits(return_X_y=True)
    images = TensorDataset(torch.tensor(x, dtype=torch.float32) / 16, torch.tensor(y))
    train, val = random_split(images, [1400, 397])
    initialize = InitCallback(plan, seed=0)
    trainer = pl.Trainer(
        max_epochs=5,
        callbacks=[initialize],  # the one line
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
    )
    trainer.fit(Classifier(), DataLoader(train, 64, shuffle=True), DataLoader(val, 397))
    print(initialize.report)
    print(f"{plan}: validation accuracy {trainer.callback_metrics['val_accuracy']:.3f}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "torch_default")
