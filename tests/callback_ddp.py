"""Train on two CPU ranks with different random numbers and the callback; each rank saves its weights."""

import logging
import sys
from pathlib import Path

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from initsearch import InitCallback

CALLBACK = InitCallback("he_normal", seed=3)


class Records(logging.Handler):
    """Counts log records."""

    count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += 1


RECORDS = Records()


class Module(LightningModule):
    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def setup(self, stage: str) -> None:
        """Save the weights: after the callback's `setup`, before DDP wraps the model."""
        found = {
            "weights": self.state_dict(),
            "rows": len(CALLBACK.report.rows),
            "logged": RECORDS.count,
        }
        torch.save(found, self.folder / f"rank{self.global_rank}.pt")

    def training_step(self, batch: list[Tensor], _: int) -> Tensor:
        return self(batch[0]).square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def main(folder: str) -> None:
    logger = logging.getLogger("initsearch")
    logger.setLevel(logging.INFO)
    logger.addHandler(RECORDS)
    torch.seed()  # a different seed per rank: the modules differ until they are initialized
    trainer = Trainer(
        accelerator="cpu", devices=2, strategy="ddp", max_epochs=1, callbacks=[CALLBACK], logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(Module(Path(folder)), DataLoader(TensorDataset(torch.randn(8, 6)), batch_size=2))


if __name__ == "__main__":
    main(sys.argv[1])
