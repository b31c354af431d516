"""`InitCallback` with plans that need a batch: where the batch comes from, and what stays unchanged."""

from collections.abc import Callable

import pytest
import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from initsearch import InitCallback, InitPlan, InitReport
from initsearch.errors import ModelError

# A warning of Lightning about loaders.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings(r"ignore:`isinstance\(treespec, LeafSpec\)`:FutureWarning"),
]


class Lit(LightningModule):
    def __init__(self, seen: list[Tensor] | None = None) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 3))
        self.seen = [] if seen is None else seen

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        self.seen.append(batch[0].clone())
        return F.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.0)


X = 7 * torch.randn(40, 6, generator=torch.Generator().manual_seed(5))
Y = torch.arange(40) % 3


def loader(generator: torch.Generator | None = None) -> DataLoader[tuple[Tensor, ...]]:
    return DataLoader(TensorDataset(X, Y), 20, shuffle=True, generator=generator)


def variances(net: nn.Sequential) -> list[float]:
    """The variances of the outputs of the two layers on all data."""
    with torch.no_grad():
        hidden = net[0](X)
        return [hidden.var().item(), net[2](hidden.relu()).var().item()]


class Data(LightningDataModule):
    def setup(self, stage: str) -> None:
        self.made = loader()

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return self.made


class WithData(Lit):
    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return loader()


def fit(module: LightningModule, callback: InitCallback | None, **data: object) -> None:
    trainer = Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
        callbacks=[callback] if callback else [],
    )
    trainer.fit(module, **data)


@pytest.mark.parametrize(
    ("module", "data"),
    [
        (Lit, lambda: {"datamodule": Data()}),
        (Lit, lambda: {"train_dataloaders": loader()}),
        (Lit, lambda: {"train_dataloaders": loader(torch.Generator().manual_seed(8))}),
        (WithData, dict),
    ],
)
def test_the_callback_takes_a_batch_from_the_training_data(
    module: type[Lit], data: Callable[[], dict[str, object]]
) -> None:
    callback = InitCallback("lsuv", seed=0)
    torch.manual_seed(1)
    with_plan = module()
    fit(with_plan, callback, **data())
    assert isinstance(callback.report, InitReport)
    # The callback saw half of the data, and the learning rate is zero.
    assert all(abs(variance - 1) < 0.4 for variance in variances(with_plan.net))
    # The order of the training data is the same as without the callback.
    torch.manual_seed(1)
    without = module()
    fit(without, None, **data())
    assert all(torch.equal(a, b) for a, b in zip(with_plan.seen, without.seen, strict=True))


def test_the_callback_takes_a_given_batch_and_fails_with_the_remedy() -> None:
    module = Lit()
    fit(module, InitCallback("lsuv", batch=X), train_dataloaders=loader())
    assert all(abs(variance - 1) < 0.1 for variance in variances(module.net))
    with pytest.raises(ModelError, match=r"training data gave none .*collection.*batch=") as raised:
        fit(Lit(), InitCallback("lsuv"), train_dataloaders={"a": loader(), "b": loader()})
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["gradinit", "metainit"])
def test_scales_are_learned_from_the_module_s_own_loss(name: str) -> None:
    class Squared(Lit):
        def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
            self.log("loss", loss := F.mse_loss(self(batch[0])[:, 0], batch[1].float()))
            return loss

    plan = {"name": name, "steps": 2}
    module, reference = Squared(), Lit()
    whole = DataLoader(TensorDataset(X, Y), 40)
    fit(module, InitCallback(plan, seed=3), train_dataloaders=whole)
    InitPlan.from_spec(plan).apply(
        reference,
        seed=3,
        batch=(X, Y),
        loss=lambda model, batch: F.mse_loss(model(batch[0])[:, 0], batch[1].float()),
    )
    assert all(map(torch.equal, module.parameters(), reference.parameters()))
