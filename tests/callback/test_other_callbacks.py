"""`InitCallback` beside callbacks that copy or freeze the module in `setup`: the order does not matter."""

import copy
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import (
    BackboneFinetuning,
    EMAWeightAveraging,
    StochasticWeightAveraging,
    WeightAveraging,
)
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from initsearch import InitCallback

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*logging interval"),
    pytest.mark.filterwarnings("ignore:You're using the WeightAveraging callback with a model"),
    pytest.mark.filterwarnings(r"ignore:`isinstance\(treespec, LeafSpec\)`:FutureWarning"),
]


class Lit(pl.LightningModule):
    def __init__(self, late: bool = False) -> None:
        super().__init__()
        self.seen: list[Tensor] = []
        if not late:
            self._build()

    def _build(self) -> None:
        self.backbone = nn.Sequential(nn.Linear(6, 8), nn.ReLU())
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.backbone(x))

    def training_step(self, batch: list[Tensor]) -> Tensor:
        return F.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: list[Tensor]) -> None:
        self.seen.append(self.head.weight.detach().clone())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD([each for each in self.parameters() if each.requires_grad], 0.0)


class Late(Lit):
    def __init__(self) -> None:
        super().__init__(late=True)

    def configure_model(self) -> None:
        if not hasattr(self, "head"):
            self._build()


class OwnAverage(pl.Callback):
    """What people write by hand."""

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        self.average = copy.deepcopy(pl_module.head)


class Teacher(pl.Callback):
    """A module of the same class with weights of its own."""

    def __init__(self) -> None:
        self.teacher = Lit()


def fit(module: Lit, callbacks: list[Any]) -> None:
    loader = DataLoader(TensorDataset(torch.randn(8, 6), torch.arange(8) % 3), 4)
    pl.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, callbacks=callbacks,
    ).fit(module, loader, loader)  # fmt: skip


@pytest.mark.parametrize("kind", [Lit, Late])
@pytest.mark.parametrize("averaging", [WeightAveraging, EMAWeightAveraging])
@pytest.mark.parametrize("first", [True, False])
def test_an_average_starts_from_the_plan(kind: Any, averaging: Any, first: bool) -> None:
    module, callbacks = kind(), [InitCallback("ones"), averaging()]
    fit(module, callbacks if first else callbacks[::-1])
    # The first is the sanity check, before any update of the average.
    assert [float(weight.mean()) for weight in module.seen] == [1.0] * len(module.seen)
    assert module.seen


@pytest.mark.parametrize("first", [True, False])
def test_copies_of_the_module_follow_and_a_teacher_does_not(first: bool) -> None:
    own, teacher, swa = OwnAverage(), Teacher(), StochasticWeightAveraging(swa_lrs=0.1)
    before = teacher.teacher.head.weight.clone()
    callbacks = [InitCallback("ones"), own, teacher, swa]
    fit(Lit(), callbacks if first else callbacks[::-1])
    assert bool((own.average.weight == 1).all())
    assert torch.equal(teacher.teacher.head.weight, before)


@pytest.mark.parametrize("first", [True, False])
def test_a_backbone_that_a_callback_freezes_is_kept(first: bool) -> None:
    module = Lit()
    before = module.backbone[0].weight.detach().clone()
    callbacks = [InitCallback("ones"), BackboneFinetuning(unfreeze_backbone_at_epoch=5)]
    fit(module, callbacks if first else callbacks[::-1])
    assert torch.equal(module.backbone[0].weight, before)
    assert bool((module.head.weight == 1).all())
