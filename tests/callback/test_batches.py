"""Where the callback takes its batch from: dicts, masks, several loaders, data made in the module's setup."""

from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.utilities import CombinedLoader
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from initsearch import InitCallback, InitPlan
from initsearch.errors import ModelError, NoEffectWarning

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*logging interval"),
    pytest.mark.filterwarnings(r"ignore:`isinstance\(treespec, LeafSpec\)`:FutureWarning"),
]

X = 5 * torch.randn(32, 6, generator=torch.Generator().manual_seed(0))
MASK, Y = torch.ones(32, 6), torch.arange(32) % 3


def triples() -> DataLoader[Any]:
    return DataLoader(TensorDataset(X, MASK, Y), 32)


def dicts() -> DataLoader[Any]:
    return DataLoader([{"x": x, "mask": m, "y": y} for x, m, y in zip(X, MASK, Y, strict=True)], 32)


class Base(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(6, 16), nn.Linear(16, 3)

    def score(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.two(F.relu(self.one(x * mask)))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.0)


class Forward(Base):
    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.score(x, mask)

    def training_step(self, batch: Any) -> Tensor:
        x, mask, y = batch
        return F.cross_entropy(self(x, mask), y)


class NoForward(Base):
    def training_step(self, batch: Any) -> Tensor:
        x, mask, y = batch
        return F.cross_entropy(self.score(x, mask), y)


class FromDict(Base):
    def training_step(self, batch: Any) -> Tensor:
        return F.cross_entropy(self.score(batch["x"], batch["mask"]), batch["y"])


class FromTwo(NoForward):
    def training_step(self, batch: Any) -> Tensor:
        return super().training_step(batch["labelled"])


class FromList(NoForward):
    def training_step(self, batch: Any) -> Tensor:
        return super().training_step(batch[1])


class AfterTransfer(NoForward):
    """The step needs what a hook makes of a batch."""

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return [batch["x"], batch["mask"], batch["y"]]


class OwnSetup(NoForward):
    """Its data exist after its own `setup`."""

    def setup(self, stage: str) -> None:
        self.made = triples()

    def train_dataloader(self) -> Any:
        return self.made


class BuiltInSetup(Forward):
    def __init__(self) -> None:
        super().__init__()
        del self.one, self.two

    def setup(self, stage: str) -> None:
        self.one, self.two = nn.Linear(6, 16), nn.Linear(16, 3)


CASES = [
    (Forward, triples),
    (NoForward, triples),
    (FromDict, dicts),
    (FromTwo, lambda: {"labelled": triples(), "other": triples()}),
    (FromTwo, lambda: CombinedLoader({"labelled": triples(), "other": triples()}, "min_size")),
    (FromList, lambda: [dicts(), triples()]),
    (AfterTransfer, dicts),
    (OwnSetup, lambda: None),
    (BuiltInSetup, triples),
]


def fit(module: pl.LightningModule, plan: Any, data: Any) -> InitCallback:
    callback = InitCallback(plan)
    pl.Trainer(
        max_steps=1, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, callbacks=[callback],
    ).fit(module, data)  # fmt: skip
    return callback


@pytest.mark.parametrize(("kind", "data"), CASES)
def test_lsuv_measures_on_the_training_data(kind: Any, data: Any) -> None:
    module = kind()
    fit(module, "lsuv", data())
    with torch.no_grad():
        hidden = module.one(X)
        outputs = [hidden, module.two(F.relu(hidden))]
    assert [float(out.var(correction=0)) for out in outputs] == pytest.approx([1.0] * 2, abs=0.1)


@pytest.mark.parametrize(("kind", "data"), CASES)
def test_rules_see_the_activations_of_the_training_step(kind: Any, data: Any) -> None:
    module = kind()
    fit(module, {"rules": [{"where": {"activation": "relu"}, "weight": "ones"}]}, data())
    assert bool((module.one.weight == 1).all())
    assert not bool((module.two.weight == 1).all())


def test_a_plain_module_takes_a_batch_with_a_mask_and_labels() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(6, 16), nn.Linear(16, 3)

        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            return self.two(F.relu(self.one(x * mask)))

    report = InitPlan.from_spec("lsuv").apply(Masked(), batch=(X, MASK, Y))
    assert "output variance 1" in {row.parameter: row.note for row in report.rows}["one.weight"]


class Broken(Base):
    """No input can be guessed, and the step fails on the data."""

    def forward(self, text: str) -> Tensor:
        return self.score(torch.zeros(len(text.upper()), 6), torch.ones(6))

    def training_step(self, batch: Any) -> Tensor:
        raise KeyError("labels")


class WorksInFit(Broken):
    ready = False

    def on_train_start(self) -> None:
        self.ready = True

    def training_step(self, batch: Any) -> Tensor:
        if not self.ready:
            raise KeyError("labels")
        return self.score(*batch[:2]).sum()


def test_a_warning_names_why_no_pass_has_shown_the_layers_and_the_remedy() -> None:
    plan = {"rules": [{"where": {"activation": "relu"}, "weight": "ones"}, {"weight": "zeros"}]}
    with pytest.warns(
        NoEffectWarning, match=r"training_step .*KeyError.*InitCallback\(\.\.\., batch"
    ):
        fit(WorksInFit(), plan, triples())


def test_a_plan_that_needs_a_batch_fails_with_the_remedy() -> None:
    with pytest.raises(
        ModelError, match=r"gave none on which Broken runs .*InitCallback\(.*batch="
    ):
        fit(Broken(), "lsuv", triples())
