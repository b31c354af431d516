"""Weights that were trained or loaded are left alone, and fresh ones are not, however they were made."""

import copy
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from initsearch import InitCallback, InitPlan, diagnose
from initsearch.callback.history import used_before
from initsearch.errors import NoEffectWarning

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*logging interval"),
    pytest.mark.filterwarnings(r"ignore:`isinstance\(treespec, LeafSpec\)`:FutureWarning"),
]

X, Y = torch.randn(32, 6, generator=torch.Generator().manual_seed(0)), torch.arange(32) % 3


def data() -> DataLoader[Any]:
    return DataLoader(TensorDataset(X, Y), 16)


def plain() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


def with_norm() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def without_bias() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8, bias=False), nn.ReLU(), nn.Linear(8, 3, bias=False))


class Lit(pl.LightningModule):
    def __init__(self, build: Callable[[], nn.Module] = plain) -> None:
        super().__init__()
        self.save_hyperparameters(ignore=["build"])
        self.net = build()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def training_step(self, batch: list[Tensor]) -> Tensor:
        return F.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), 0.01)


class WithNorm(Lit):
    def __init__(self) -> None:
        super().__init__(with_norm)


class WithoutBias(Lit):
    def __init__(self) -> None:
        super().__init__(without_bias)


def fit(module: Lit, *callbacks: pl.Callback, epochs: int = 3, **settings: Any) -> pl.Trainer:
    trainer = pl.Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, callbacks=list(callbacks),
    )  # fmt: skip
    trainer.fit(module, data(), **settings)
    return trainer


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.named_parameters()}


class AtStart(pl.Callback):
    """The weights with which training starts."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.weights = state(pl_module)


def start_of_fit(module: Lit, callback: InitCallback, **settings: Any) -> dict[str, Tensor]:
    seen = AtStart()
    fit(module, callback, seen, epochs=settings.pop("epochs", 1), **settings)
    return seen.weights


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("kind", [Lit, WithNorm, WithoutBias])
@pytest.mark.parametrize("first", [[], [InitCallback("he_normal")]], ids=["plain", "callback"])
def test_a_new_callback_leaves_a_trained_module_alone(kind: Any, first: list[Any]) -> None:
    module = kind()
    fit(module, *first)
    trained = state(module)
    with pytest.warns(
        NoEffectWarning, match=rf"all \d of|all {len(trained)} .*trained.*force=True"
    ):
        weights = start_of_fit(module, InitCallback("zeros"))
    assert equal(weights, trained)
    forced = InitCallback("zeros", force=True)
    assert all(not value.any() for n, value in start_of_fit(module, forced).items() if "0.w" in n)


@pytest.mark.parametrize("kind", [Lit, WithNorm, WithoutBias])
@pytest.mark.parametrize("how", ["load_from_checkpoint", "load_state_dict"])
def test_loaded_weights_are_left_alone(kind: Any, how: str, tmp_path: Path) -> None:
    trained = kind()
    fit(trained).save_checkpoint(tmp_path / "last.ckpt")
    if how == "load_from_checkpoint":
        module = kind.load_from_checkpoint(tmp_path / "last.ckpt", weights_only=False)
    else:
        module = kind()
        module.load_state_dict(trained.state_dict())
    with pytest.warns(NoEffectWarning, match="loaded before"):
        weights = start_of_fit(module, InitCallback("zeros"))
    assert equal(weights, state(trained))


def test_a_checkpoint_of_the_fit_wins_without_a_warning(tmp_path: Path) -> None:
    trained = Lit()
    fit(trained).save_checkpoint(tmp_path / "last.ckpt")
    settings = {"ckpt_path": tmp_path / "last.ckpt", "weights_only": False, "epochs": 4}
    weights = start_of_fit(Lit(), InitCallback("zeros"), **settings)
    assert equal(weights, state(trained))


def test_a_deep_copy_of_a_trained_net_with_norms_is_recognized() -> None:
    module = WithNorm()
    fit(module)
    assert len(used_before(copy.deepcopy(module))) == len(state(module))


def test_a_loaded_backbone_is_kept_and_a_new_head_filled() -> None:
    trained = WithNorm()
    fit(trained)

    def build() -> nn.Module:
        net = nn.Sequential(nn.Sequential(*with_norm()[:3]), nn.Linear(8, 3))
        net[0].load_state_dict(
            {name: value for name, value in trained.net.state_dict().items() if name[0] != "3"}
        )
        return net

    module = Lit(build)
    before = state(module.net[0])
    callback = InitCallback("zeros")
    with pytest.warns(NoEffectWarning, match=r"4 of 6 parameters .*net\.0\.0\.weight"):
        weights = start_of_fit(module, callback)
    assert all(torch.equal(weights[f"net.0.{name}"], value) for name, value in before.items())
    assert not weights["net.1.weight"].any()
    assert callback.report is not None
    notes = {row.parameter: row.note for row in callback.report.rows}
    assert "loaded before" in notes["net.0.0.weight"]
    assert "before" not in notes["net.1.weight"]


def xavier(module: nn.Module) -> nn.Module:
    for each in module.modules():
        if isinstance(each, nn.Linear):
            nn.init.xavier_uniform_(each.weight)
            nn.init.zeros_(each.bias)
        if isinstance(each, nn.LayerNorm | nn.BatchNorm1d):
            nn.init.ones_(each.weight)
            nn.init.zeros_(each.bias)
    return module


def lstm() -> nn.Module:
    net = nn.LSTM(6, 8)
    for name, value in net.named_parameters():
        if "weight" in name:
            nn.init.orthogonal_(value)
        else:
            nn.init.zeros_(value)
            value.data[8:16].fill_(1.0)
    return net


def warmed_up() -> nn.Module:
    """A dummy pass in training mode, as for the size of a flattened output, moves a norm's statistics."""
    net = with_norm()
    net(torch.randn(4, 6))
    return net


def log_prior() -> nn.Module:
    net = xavier(plain())
    net[2].bias.data.copy_(torch.tensor([0.7, 0.2, 0.1]).log())
    return net


def transformer() -> nn.Module:
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2)


FRESH = [
    plain, with_norm, without_bias, lstm, warmed_up, log_prior, transformer,
    lambda: xavier(plain()), lambda: xavier(with_norm()), lambda: copy.deepcopy(plain()),
]  # fmt: skip


@pytest.mark.parametrize("build", FRESH)
def test_fresh_weights_are_fresh_whatever_initialized_them(build: Callable[[], nn.Module]) -> None:
    assert used_before(build()) == {}


def test_what_leaves_a_model_as_it_was_leaves_it_fresh() -> None:
    net = plain()
    diagnose(net, X)
    diagnose(net, X, plan=InitPlan.from_spec("torch_default"))
    assert used_before(net) == {}


def test_what_a_plan_has_filled_is_fresh_until_it_is_trained() -> None:
    module = Lit()
    InitPlan.from_spec("torch_default").apply(module, seed=3)
    with warnings.catch_warnings():
        warnings.simplefilter("error", NoEffectWarning)
        weights = start_of_fit(module, InitCallback("zeros"))
    assert not any(value.any() for value in weights.values())


def test_loading_after_a_plan_is_loading() -> None:
    trained, module = Lit(), Lit()
    fit(trained)
    InitPlan.from_spec("he_normal").apply(module)
    module.load_state_dict(trained.state_dict())
    assert len(used_before(module)) == len(state(module))
