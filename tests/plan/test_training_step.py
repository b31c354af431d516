"""Layers that forward does not run: a LightningModule's training step shows them, or each part by itself."""

import copy
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from initsearch import InitCallback, InitPlan
from initsearch.errors import ModelError, NoEffectWarning
from initsearch.layers import describe

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*logging interval"),
    pytest.mark.filterwarnings(r"ignore:`isinstance\(treespec, LeafSpec\)`:FutureWarning"),
]

X, Y = torch.randn(16, 12, generator=torch.Generator().manual_seed(0)), torch.arange(16) % 3


class Base(pl.LightningModule):
    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.1)


class AutoEncoder(Base):
    """Lightning's own example: forward encodes, the decoder runs in the training step alone."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 3))
        self.decoder = nn.Sequential(nn.Linear(3, 8), nn.GELU(), nn.Linear(8, 12))

    def forward(self, x: Tensor) -> Tensor:
        return self.encoder(x)

    def training_step(self, batch: Any, index: int) -> Tensor:
        loss = F.mse_loss(self.decoder(self.encoder(batch[0])), batch[0])
        self.log("loss", loss)
        return loss


class NoForward(Base):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(12, 8), nn.Linear(8, 3)

    def training_step(self, batch: Any) -> dict[str, Tensor]:
        return {"loss": F.cross_entropy(self.two(torch.tanh(self.one(batch[0]))), batch[1])}


class Gan(Base):
    """Two optimizers, steps by hand, a logger."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.generator = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 12), nn.Tanh())
        self.discriminator = nn.Sequential(nn.Linear(12, 8), nn.LeakyReLU(0.2), nn.Linear(8, 1))

    def forward(self, z: Tensor) -> Tensor:
        return self.generator(z)

    def training_step(self, batch: Any, index: int) -> None:
        first, second = self.optimizers()
        noise = torch.randn(len(batch[0]), 4)
        self.toggle_optimizer(first)
        fake = self(noise)
        self.logger.experiment.add_image("fake", fake)
        fooled = F.softplus(-self.discriminator(fake)).mean()
        self.log_dict({"g": fooled})
        first.zero_grad()
        self.manual_backward(fooled)
        first.step()
        self.untoggle_optimizer(first)
        self.manual_backward(F.softplus(self.discriminator(self(noise).detach())).mean())
        second.step(lambda: None)

    def configure_optimizers(self) -> Any:
        parts = self.generator, self.discriminator
        return [torch.optim.Adam(part.parameters()) for part in parts], []


class Refusing:
    """A logger's experiment that must not be written to while a model is described."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} was called")


class Logger(pl.loggers.logger.DummyLogger):
    @property
    def experiment(self) -> Any:
        return Refusing()


def activations(model: nn.Module, batch: Any = (X, Y)) -> dict[str, tuple[str | None, str | None]]:
    slots = [slot for slot in describe(model, batch) if slot.category == "weight"]
    assert all("not used" not in slot.note for slot in slots)
    return {slot.name.removesuffix(".weight"): (slot.activation, slot.role) for slot in slots}


def test_the_training_step_shows_what_forward_leaves_out() -> None:
    assert activations(AutoEncoder()) == {
        "encoder.0": ("relu", "first"),
        "encoder.2": ("none", "hidden"),
        "decoder.0": ("gelu", "hidden"),
        "decoder.2": ("none", "head"),
    }
    assert activations(NoForward()) == {"one": ("tanh", "first"), "two": ("none", "head")}
    found = activations(Gan())
    assert (found["generator.0"], found["generator.2"]) == (("relu", "hidden"), ("tanh", "hidden"))
    assert found["discriminator.0"][0] == "leaky_relu"
    assert found["discriminator.2"] == ("softplus", "head")


def fit(model: pl.LightningModule, plan: Any, **settings: Any) -> InitCallback:
    callback = InitCallback(plan, seed=0, **settings)
    trainer = pl.Trainer(
        max_steps=0,
        logger=Logger(),
        accelerator="cpu",
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[callback],
    )
    trainer.fit(model, DataLoader(TensorDataset(X, Y), 4))
    return callback


@pytest.mark.parametrize("kind", [AutoEncoder, NoForward, Gan])
def test_the_callback_takes_a_batch_if_forward_does_not_run_all_layers(kind: Any) -> None:
    model = kind()
    state = copy.deepcopy({n: v for n, v in model.state_dict().items() if "bias" in n})
    callback = fit(model, {"rules": [{"where": {"role": "head"}, "weight": "ones"}]})
    assert callback.report is not None
    heads = {
        row.parameter
        for row in callback.report.rows
        if (row.role, row.mean, row.std) == ("head", 1.0, 0.0)
    }
    last = {AutoEncoder: "decoder.2", NoForward: "two", Gan: "discriminator.2"}[kind]
    assert heads == {f"{last}.weight"}
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in state.items())
    assert not {"log", "optimizers", "manual_backward"} & vars(model).keys()


@pytest.mark.parametrize("model", [AutoEncoder(), NoForward()])
def test_lsuv_runs_the_training_step_too(model: Any) -> None:
    fit(model, "lsuv", batch=(X, Y))
    model.log = lambda *args: None  # outside of a loop it would refuse
    seen: list[float] = []
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    for layer in layers:
        layer.register_forward_hook(lambda _, __, out: seen.append(out.detach().var(correction=0)))
    model.training_step((X, Y), *([0] if isinstance(model, AutoEncoder) else []))
    assert [float(each) for each in seen] == pytest.approx([1.0] * len(layers), abs=0.1)


class Wants(Base):
    """A forward that logs, needs labels, and runs in training mode only."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(12, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        if not self.training:
            raise RuntimeError("in training mode only")
        loss = F.cross_entropy(self.two(F.silu(self.one(x))), y)
        self.log("loss", loss)
        return loss

    def training_step(self, batch: Any, index: int) -> Tensor:
        return self(*batch)


def test_a_forward_that_logs_needs_labels_and_asserts_training_is_traced() -> None:
    for attached in (False, True):
        model = Wants().eval()
        if attached:
            model.trainer = pl.Trainer(logger=False, accelerator="cpu", enable_checkpointing=False)
        assert activations(model) == {"one": ("silu", "first"), "two": ("none", "head")}
        assert not model.training
    assert {
        row.parameter for row in fit(Wants(), "he_normal").report.rows if row.role == "head"
    } == {
        "two.weight",
        "two.bias",
    }


class Plain(nn.Module):
    """A module that others run part by part; no part but the first is reached by forward, or none."""

    def __init__(self, forward: bool) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 3))
        self.rest = nn.ModuleDict(
            {
                "decoder": nn.Sequential(nn.Linear(3, 8), nn.GELU(), nn.Linear(8, 12)),
                "critic": nn.Sequential(nn.Conv2d(1, 4, 3), nn.ELU(), nn.Conv2d(4, 1, 3)),
            }
        )
        if forward:
            self.forward = self.encoder.forward


@pytest.mark.parametrize("forward", [False, True])
def test_parts_that_forward_does_not_reach_are_run_by_themselves(forward: bool) -> None:
    slots = {s.name: s for s in describe(Plain(forward)) if s.category == "weight"}
    assert {name: (s.activation, s.activation_source) for name, s in slots.items()} == {
        "encoder.0.weight": ("relu", "trace"),
        "encoder.2.weight": ("none", "trace"),
        "rest.decoder.0.weight": ("gelu", "trace"),
        "rest.decoder.2.weight": ("none", "trace"),
        "rest.critic.0.weight": ("elu", "trace"),
        "rest.critic.2.weight": ("none", "trace"),
    }
    assert "by itself" in slots["rest.critic.0.weight"].note
    assert all("not used" not in slot.note for slot in slots.values())


class Text(nn.Module):
    """No input can be guessed."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, text: str) -> Tensor:
        return self.two(F.relu(self.one(torch.zeros(len(text.upper()), 4))))


def test_a_rule_that_skips_layers_for_lack_of_a_trace_says_so_with_the_remedy() -> None:
    plan = InitPlan.from_spec(
        {"rules": [{"where": {"activation": "relu"}, "weight": "ones"}, {"weight": "zeros"}]}
    )
    with pytest.warns(
        NoEffectWarning, match=r"rule 1 .*no pass has shown.*one\.weight.*pass a batch"
    ):
        report = plan.apply(Text())
    assert "rule 1 was not applied" in report.rows[0].note
    assert "pass a batch" in report.rows[0].note
    plan.apply(Text(), batch=("four",))  # with a batch there is nothing to say


def test_a_batch_that_fits_neither_forward_nor_the_training_step_is_an_error() -> None:
    with pytest.raises(ModelError, match="batch"):
        describe(NoForward(), torch.randn(2, 5))
