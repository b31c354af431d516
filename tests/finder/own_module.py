"""Modules of users for `init_find`; the project itself is that of the task's tests."""

import sys
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

sys.path.append(str(Path(__file__).parents[1] / "tasks"))

from lightning_project import Blobs as Blobs
from lightning_project import Net as Net
from lightning_project import make_trainer as make_trainer


class Gan(pl.LightningModule):
    """Two networks, each with an optimizer of its own, stepped by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.generator = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2))
        self.critic = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 1))

    def made(self, count: int) -> Tensor:
        made: Tensor = self.generator(torch.randn(count, 2))
        return made

    def training_step(self, batch: list[Tensor], batch_idx: int) -> None:
        (real,) = batch
        for_critic, for_generator = self.optimizers()  # type: ignore[misc]
        loss = self.critic(self.made(len(real)).detach()).mean() - self.critic(real).mean()
        for_critic.zero_grad()
        self.manual_backward(loss)
        for_critic.step()
        for_generator.zero_grad()
        self.manual_backward(-self.critic(self.made(len(real))).mean())
        for_generator.step()

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        (real,) = batch
        self.log("val/distance", (self.made(len(real)).mean(0) - real.mean(0)).norm())

    def configure_optimizers(self) -> Any:
        return [torch.optim.Adam(net.parameters(), 1e-3) for net in (self.critic, self.generator)]
