"""LSUV, against a plain implementation with one forward of the whole model per attempt; and its rules."""

import copy
import random

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from initsearch import InitPlan, get_initializer
from initsearch.errors import ConfigError, ModelError

MEASURED = (nn.Linear, nn.Bilinear, nn.modules.conv._ConvNd)


def outputs_of(model: nn.Module, batch: Tensor) -> dict[str, Tensor]:
    """The output of each measured module by name, in execution order; in training mode, by plain hooks."""
    found: dict[str, Tensor] = {}
    handles = [
        module.register_forward_hook(
            lambda _, args, output, name=name: found.setdefault(name, output.detach().clone())
        )
        for name, module in model.named_modules()
        if isinstance(module, MEASURED)
    ]
    with torch.no_grad():
        model.train()(batch)
    for handle in handles:
        handle.remove()
    return found


def variances(model: nn.Module, batch: Tensor) -> dict[str, float]:
    found = outputs_of(copy.deepcopy(model), batch)
    return {name: float(np.var(output.double().numpy())) for name, output in found.items()}


def plain_lsuv(model: nn.Module, batch: Tensor, tolerance: float = 0.1, attempts: int = 10) -> None:
    """Mishkin and Matas 2016, algorithm 1, after the orthogonal fill, with forwards of the whole model."""
    for name in outputs_of(model, batch):
        layer = model.get_submodule(name)
        for _ in range(attempts):
            variance = outputs_of(model, batch)[name].var(correction=0)
            if abs(variance - 1) < tolerance:
                break
            with torch.no_grad():
                layer.weight.div_(variance.sqrt())


class Mixed(nn.Module):
    """Convolutions with groups and stride, a transposed convolution, norms, a shortcut, and biases."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(12, 5)  # registered first, run last
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.norm = nn.BatchNorm2d(8)
        self.up = nn.ConvTranspose2d(8, 8, 4, 2, 1)
        self.down = nn.Conv2d(8, 8, 4, 2, 1)
        self.wide = nn.Linear(8, 12)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        x = x + self.down(F.silu(self.up(self.norm(self.depthwise(x)))))
        return self.head(torch.tanh(self.wide(x.mean((2, 3)))))


IMAGES = 5 * torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("bias", ["zeros", {"name": "normal", "std": 0.3}])
def test_equals_the_plain_algorithm(bias: object) -> None:
    model = Mixed()
    plan = {"rules": [{"weight": "lsuv", "bias": bias}]}
    InitPlan.from_spec(plan).apply(model, seed=3, batch=IMAGES)
    reference = Mixed()
    plan = {"rules": [{"weight": "orthogonal", "bias": bias}]}
    InitPlan.from_spec(plan).apply(reference, seed=3, batch=IMAGES)
    plain_lsuv(reference, IMAGES)
    for name, parameter in reference.named_parameters():
        torch.testing.assert_close(model.get_parameter(name), parameter, rtol=1e-4, atol=1e-6)
    assert all(abs(variance - 1) < 0.1 for variance in variances(model, IMAGES).values())


@pytest.mark.parametrize(
    "name", ["resnet18", pytest.param("convnext_tiny", marks=pytest.mark.slow)]
)
def test_every_layer_of_a_published_model_has_unit_variance(name: str) -> None:
    model = getattr(torchvision.models, name)(
        **({"stochastic_depth_prob": 0.0} if name == "convnext_tiny" else {})
    )
    batch = torch.randn(8, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    report = InitPlan.from_spec("lsuv").apply(model, batch=batch)
    found = variances(model, batch)
    assert len(found) == sum(isinstance(module, MEASURED) for module in model.modules())
    assert all(abs(variance - 1) < 0.101 for variance in found.values())
    rows = {row.parameter: row for row in report.rows}
    for layer, variance in found.items():
        row = rows[f"{layer}.weight"]
        assert f"output variance {variance:.2g}"[:19] in row.note
        weight = model.get_parameter(row.parameter)
        assert row.std == pytest.approx(weight.std(correction=0).item(), rel=1e-4)


def test_layers_run_twice_at_most() -> None:
    """No forward of the whole model per layer or attempt: each layer runs once, and again if it is scaled."""
    ran: list[str] = []

    class Counted(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            ran.append("linear")
            return super().forward(x)

    model = nn.Sequential(*(nn.Sequential(Counted(16, 16), nn.ReLU()) for _ in range(10)))
    batch = torch.randn(32, 16)
    InitPlan.from_spec("orthogonal").apply(model, batch=batch)
    described = len(ran)
    ran.clear()
    InitPlan.from_spec("lsuv").apply(model, batch=batch)
    assert len(ran) - described <= 20


def test_changes_nothing_but_the_weights() -> None:
    model = Mixed().eval()
    model.norm.running_mean.fill_(0.5)
    model(IMAGES).sum().backward()
    calls: list[int] = []
    model.stem.register_forward_hook(lambda *_: calls.append(1))
    gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
    buffers = {name: b.clone() for name, b in model.named_buffers()}
    hooks = {name: list(m._forward_hooks.items()) for name, m in model.named_modules()}
    torch.manual_seed(7)
    random.seed(7)
    np.random.seed(7)
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    InitPlan.from_spec("lsuv").apply(model, batch=IMAGES)
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1:] == (random.getstate(), np.random.get_state()[1].tolist())
    assert not any(module.training for module in model.modules())
    assert {name: list(m._forward_hooks.items()) for name, m in model.named_modules()} == hooks
    for name, buffer in model.named_buffers():
        assert torch.equal(buffer, buffers[name])
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter.grad, gradients[name])
        assert parameter.grad_fn is None


def test_a_rule_scales_only_its_layers_with_all_others_already_filled() -> None:
    model = Mixed()
    rules = [
        {"where": {"name": "up"}, "weight": "lsuv", "bias": "zeros"},
        {"weight": {"name": "normal", "std": 0.05}, "bias": "zeros"},
    ]
    report = InitPlan.from_spec({"rules": rules}).apply(model, batch=IMAGES)
    found = variances(model, IMAGES)
    assert found["up"] == pytest.approx(1, abs=1e-4)
    assert all(abs(found[name] - 1) > 0.1 for name in found if name != "up")
    assert [row.parameter for row in report.rows if "output variance" in row.note] == ["up.weight"]


def test_the_tolerance_and_the_attempts_are_tunable() -> None:
    model = nn.Sequential(nn.Linear(16, 16))
    loose = {"name": "lsuv", "tolerance": 1000.0}
    batch = torch.randn(64, 16)
    InitPlan.from_spec(loose).apply(model, batch=batch)
    weight = model[0].weight.detach()
    torch.testing.assert_close(weight @ weight.T, torch.eye(16), atol=1e-5, rtol=0)
    # With a bias of variance .5 one division is not enough.
    model[0].bias.data.copy_(torch.randn(16) * 0.7)
    for attempts in (1, 10):
        spec = {"name": "lsuv", "max_attempts": attempts, "tolerance": 0.01}
        rules = {"rules": [{"weight": spec, "bias": "keep"}]}
        InitPlan.from_spec(rules).apply(model, batch=10 * batch)
        reached = abs(variances(model, 10 * batch)["0"] - 1) < 0.01
        assert reached == (attempts == 10)
    for field, value in (("tolerance", 0.0), ("max_attempts", 0), ("max_attempts", 1.5)):
        with pytest.raises(ConfigError, match=f"lsuv: {field} must be"):
            get_initializer({"name": "lsuv", field: value})


class Standardized(nn.Linear):
    """A layer whose output does not depend on the scale of its weight."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight / self.weight.norm(), self.bias)


class Odd(nn.Module):
    """Layers with special rules."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 12, padding_idx=0)
        self.lstm = nn.LSTM(12, 12, batch_first=True)
        self.attention = nn.MultiheadAttention(12, 3, batch_first=True)
        self.twice = nn.Linear(12, 12)
        self.normed = parametrizations.weight_norm(nn.Linear(12, 12))
        self.spectral = parametrizations.spectral_norm(nn.Linear(12, 12))
        self.orthogonal = parametrizations.orthogonal(nn.Linear(12, 12))
        self.standardized = Standardized(12, 12)
        self.constant = nn.Linear(12, 12)
        self.bare = nn.Parameter(torch.randn(12, 12))
        self.by_function = nn.Linear(12, 12)
        self.infinite = nn.Linear(1, 4)
        self.unused = nn.Linear(4, 4)
        self.head = nn.Linear(12, 20, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens)
        x = self.lstm(x)[0]
        x = self.attention(x, x, x)[0]
        x = self.twice(F.relu(3 * self.twice(x)))
        x = self.orthogonal(self.spectral(2 * self.normed(x)) * 5)
        x = self.standardized(x) + self.constant(torch.zeros_like(x))
        x = F.linear(x @ self.bare, self.by_function.weight)
        self.infinite(torch.full((1,), torch.inf))
        return self.head(x)


TOKENS = torch.randint(20, (16, 6), generator=torch.Generator().manual_seed(0))


def test_special_layers_follow_the_documented_rules() -> None:
    model, filled = Odd(), Odd()
    report = InitPlan.from_spec("lsuv").apply(model, batch=TOKENS)
    InitPlan.from_spec("orthogonal").apply(filled, batch=TOKENS)
    notes = {row.parameter: row.note for row in report.rows}
    kept = {
        "lstm.weight_ih_l0": "not proportional",
        "lstm.weight_hh_l0": "not proportional",
        "attention.in_proj_weight": "not proportional",
        "spectral.weight": "does not follow its scale",
        "orthogonal.weight": "does not follow its scale",
        "standardized.weight": "does not follow its scale",
        "constant.weight": "its output is constant",
        "bare": "not a module of its own",
        "by_function.weight": "no module that holds it was called",
        "infinite.weight": "not finite",
        "unused.weight": "no module that holds it was called",
    }
    for name, words in kept.items():
        assert words in notes[name], name
        now, then = (eval(f"model.{name}", {"model": each}) for each in (model, filled))
        assert torch.equal(now, then), name
    seen: dict[str, list[Tensor]] = {}
    for name, module in model.named_modules():
        module.register_forward_hook(
            lambda _, args, output, name=name: seen.setdefault(name, []).append(
                output[0] if isinstance(output, tuple) else output
            )
        )
    with torch.no_grad():
        model.train()(TOKENS)
    for name in ("embedding", "attention", "twice", "normed"):
        # A tied weight that is used again is scaled by its first use.
        assert seen[name][0].var().item() == pytest.approx(1, abs=0.11), name
    assert abs(seen["twice"][1].var().item() - 1) > 0.2
    assert bool((model.embedding.weight[0] == 0).all())
    assert "scaled by" in notes["attention.out_proj.weight"]


@pytest.mark.parametrize("scale", [1e-25, 1e18])
def test_very_large_and_very_small_outputs_are_measured_too(scale: float) -> None:
    model = nn.Sequential(nn.Linear(30, 40), nn.ReLU(), nn.Linear(40, 10))
    batch = torch.randn(50, 30) * scale
    InitPlan.from_spec("lsuv").apply(model, batch=batch)
    assert all(abs(v - 1) < 0.1 for v in variances(model, batch).values())


def test_a_deep_net_gets_a_signal_that_its_fill_alone_does_not_give() -> None:
    layers = [layer for _ in range(30) for layer in (nn.Linear(64, 64), nn.ReLU())]
    model, batch = nn.Sequential(*layers), torch.randn(100, 64)
    InitPlan.from_spec("orthogonal").apply(model, batch=batch)
    assert model(batch).std() < 1e-3
    InitPlan.from_spec("lsuv").apply(model, batch=batch)
    assert 0.3 < model(batch).std() < 1


def test_frozen_layers_are_not_scaled() -> None:
    model = Mixed()
    model.up.weight.requires_grad_(False)
    before = model.up.weight.clone()
    InitPlan.from_spec("lsuv").apply(model, batch=IMAGES)
    assert torch.equal(model.up.weight, before)


def test_without_a_batch_there_is_one_line_and_no_change() -> None:
    model = Mixed()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ModelError, match=r"\w+.weight: lsuv needs a batch.*pass batch=") as raised:
        InitPlan.from_spec("lsuv").apply(model)
    assert "\n" not in str(raised.value)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    with pytest.raises(ModelError, match="batch must be one that Mixed accepts"):
        InitPlan.from_spec("lsuv").apply(model, batch=torch.randn(3, 4))


def test_plans_report_what_they_need() -> None:
    assert InitPlan.from_spec("he_normal").needs == frozenset()
    assert InitPlan.from_spec("fixup").needs == {"branch"}
    assert InitPlan.from_spec({"default": {"weight": "lsuv"}}).needs == {"batch"}
