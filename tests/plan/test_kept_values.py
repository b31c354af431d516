"""What a scheme for all weights leaves alone: values set on purpose, parameters that are data, copies."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from initsearch import InitPlan, InitReport, diagnose
from initsearch.layers import describe


def apply(model: nn.Module, plan: Any, batch: Any = None, **settings: Any) -> InitReport:
    return InitPlan.from_spec(plan).apply(model, batch=batch, **settings)


def note(report: InitReport, name: str) -> str:
    return next(row.note for row in report.rows if row.parameter == name)


class Net(nn.Module):
    """Three layers; the second adds to a residual stream."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(6, 8)
        self.inner = nn.Linear(8, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        return self.head(x + self.inner(x))


X = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "plan", ["he_normal", "torch_default", {"default": {"weight": "he_normal"}}]
)
def test_an_all_zero_weight_is_kept_and_listed(plan: Any) -> None:
    model = Net()
    nn.init.zeros_(model.inner.weight)
    report = apply(model, plan, X)
    assert model.inner.weight.count_nonzero() == 0
    assert "all zero" in note(report, "inner.weight")
    assert model.stem.weight.count_nonzero() > 0


def test_a_rule_that_names_it_fills_a_zero_weight() -> None:
    model = Net()
    nn.init.zeros_(model.inner.weight)
    apply(model, {"rules": [{"where": {"branch": "last"}, "weight": "he_normal"}]}, X)
    assert model.inner.weight.count_nonzero() > 0


def test_a_model_whose_weights_are_mostly_zero_was_never_filled() -> None:
    model = Net()
    for layer in (model.stem, model.inner):
        nn.init.zeros_(layer.weight)
    apply(model, "he_normal", X)
    assert all(layer.weight.count_nonzero() > 0 for layer in (model.stem, model.inner, model.head))


@pytest.mark.parametrize(
    "values",
    [
        torch.full((3,), -4.6),  # the focal loss's prior
        torch.full((3,), 0.01),  # within the default's range, but one number for all units
        torch.tensor([2.0, 0.0, 0.0]),
        torch.log(torch.expm1(torch.tensor([0.001, 0.01, 0.1]))),  # softplus gives these steps
    ],
)
def test_a_bias_that_is_not_its_layer_s_default_is_kept(values: Tensor) -> None:
    model = Net()
    model.head.bias.data.copy_(values)
    report = apply(model, "he_normal", X)
    assert torch.equal(model.head.bias, values)
    assert "not the default" in note(report, "head.bias")
    assert model.stem.bias.count_nonzero() == 0
    apply(model, {"rules": [{"where": {"role": "head"}, "bias": "zeros"}]}, X)
    assert model.head.bias.count_nonzero() == 0


def test_a_forget_gate_s_bias_of_one_is_kept() -> None:
    model = nn.LSTM(4, 3)
    model.bias_ih_l0.data[3:6] = 1.0
    before = model.bias_ih_l0.detach().clone()
    apply(model, "orthogonal", torch.randn(5, 2, 4))
    assert torch.equal(model.bias_ih_l0, before)
    assert model.bias_hh_l0.count_nonzero() == 0


@pytest.mark.parametrize("default", ["zeros", "uniform"])
def test_a_bias_as_its_layer_makes_it_is_filled(default: str) -> None:
    model = Net().to(torch.bfloat16)
    if default == "zeros":
        nn.init.zeros_(model.stem.bias)
    apply(
        model, {"name": "edge_of_chaos", "activation": "tanh", "bias_variance": 0.1}, X.bfloat16()
    )
    assert model.stem.bias.float().std() > 0.1


def test_a_marked_parameter_is_kept() -> None:
    model = Net()
    model.inner.weight._no_reinit = True
    before = model.inner.weight.detach().clone()
    report = apply(model, "he_normal", X)
    assert torch.equal(model.inner.weight, before)
    assert "_no_reinit" in note(report, "inner.weight")


def test_what_a_plan_has_set_is_not_the_model_s_choice() -> None:
    model = Net()
    apply(model, {"rules": [{"where": {"name": "*"}, "weight": "zeros", "bias": "ones"}]}, X)
    apply(model, "he_normal", X)
    assert all(layer.weight.count_nonzero() > 0 for layer in (model.stem, model.inner, model.head))
    assert model.head.bias.count_nonzero() == 0


def test_a_plan_that_is_only_measured_leaves_the_choice_with_the_model() -> None:
    model = Net()
    model.head.bias.data.fill_(-4.6)
    diagnose(
        model, X, plan={"rules": [{"where": {"name": "*"}, "weight": "zeros", "bias": "ones"}]}
    )
    apply(model, "he_normal", X)
    assert bool((model.head.bias == -4.6).all())


class Adapted(nn.Module):
    """A frozen layer with a low-rank update that starts at zero, in bare parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.base = nn.Linear(6, 8).requires_grad_(False)
        self.lora_a = nn.Parameter(torch.randn(2, 6))
        self.lora_b = nn.Parameter(torch.zeros(8, 2))
        self.prior = nn.Parameter(torch.full((8,), -4.6))

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + (x @ self.lora_a.T) @ self.lora_b.T + self.prior


def test_the_zero_factor_of_a_low_rank_update_is_kept() -> None:
    model = Adapted()
    before = model.lora_a.detach().clone()
    report = apply(model, "he_normal", X)
    assert model.lora_b.count_nonzero() == 0
    assert "all zero" in note(report, "lora_b")
    assert not torch.equal(model.lora_a, before)
    assert bool((model.prior == -4.6).all())


class Tables(nn.Module):
    """Parameters that are data, and weights beside them."""

    def __init__(self) -> None:
        super().__init__()
        self.class_token = nn.Parameter(torch.randn(1, 1, 8))
        self.pos_embed = nn.Parameter(torch.randn(1, 6, 8))
        self.rel_pos = nn.Parameter(torch.randn(11, 8))
        self.width_rel = nn.Parameter(torch.randn(6, 8))
        self.queries = nn.Parameter(torch.randn(3, 8))
        self.learned = nn.Parameter(torch.randn(5, 8))
        self.prototypes = nn.Parameter(torch.randn(4, 8))
        self.gamma = nn.Parameter(torch.full((8,), 0.1))
        self.dt_bias = nn.Parameter(torch.linspace(-7.0, -2.0, 8))
        self.A_log = nn.Parameter(torch.arange(1.0, 9.0).log().repeat(8, 1))
        self.weight = nn.Parameter(torch.randn(6, 8))
        self.w_query = nn.Parameter(torch.randn(8, 8))
        self.w_key = nn.Parameter(torch.randn(8, 8))
        self.out = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = (
            torch.cat([self.class_token.expand(len(x), -1, -1), x], 1)
            + self.pos_embed
            + self.weight
        )
        x = x * self.gamma + F.softplus(x + self.dt_bias) * torch.exp(-torch.exp(self.A_log)).sum(1)
        query, key = x @ self.w_query, x @ self.w_key
        scores = query @ key.mT
        places = torch.arange(6)
        scores = scores + torch.einsum(
            "bqd,qkd->bqk", query, self.rel_pos[places[:, None] - places + 5]
        )
        scores = scores + query @ self.width_rel.T
        x = scores.softmax(-1) @ x
        pooled = (self.queries @ x.mT).softmax(-1) @ x
        latent = ((self.learned @ self.w_query) @ (x @ self.w_key).mT).softmax(-1) @ x
        return self.out(pooled.mean(1) + latent.mean(1)) @ F.normalize(self.prototypes, dim=1).T


@pytest.mark.parametrize("plan", ["he_normal", "orthogonal", "torch_default"])
def test_parameters_that_are_data_are_no_weights(plan: str) -> None:
    model = Tables()
    before = copy.deepcopy(model.state_dict())
    apply(model, plan, torch.randn(2, 5, 8))
    changed = {n for n, value in model.state_dict().items() if not torch.equal(value, before[n])}
    assert changed == {"w_query", "w_key", "out.weight", "out.bias"}


def test_a_rule_that_names_a_table_fills_it() -> None:
    model = Tables()
    plan = {"rules": [{"where": {"name": "pos_embed"}, "weight": {"name": "normal", "std": 0.02}}]}
    apply(model, plan, torch.randn(2, 5, 8))
    assert model.pos_embed.std().item() == pytest.approx(0.02, rel=0.4)


class Dense(nn.Module):
    """A layer with a bias of its own, added in one of several ways."""

    def __init__(self, inputs: int, outputs: int, how: str) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(inputs, outputs))
        self.b = nn.Parameter(torch.randn(outputs))
        self.how = how

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "plus":
            return x @ self.kernel + self.b
        if self.how == "in place":
            y = x @ self.kernel
            y += self.b
            return y
        if self.how == "addmm":
            return torch.addmm(self.b, x, self.kernel)
        if self.how == "linear":
            return F.linear(x, self.kernel.T, self.b)
        return torch.einsum("bi,io->bo", x, self.kernel).add(self.b[None])


@pytest.mark.parametrize("how", ["plus", "in place", "addmm", "linear", "einsum"])
def test_a_bias_that_is_added_apart_belongs_to_its_layer(how: str) -> None:
    model = nn.Sequential(Dense(6, 8, how), nn.ReLU(), Dense(8, 3, how))
    slots = {slot.name: slot for slot in describe(model, X)}
    for number, activation, role in (("0", "relu", "first"), ("2", "none", "head")):
        weight, bias = slots[f"{number}.kernel"], slots[f"{number}.b"]
        assert (bias.category, bias.activation, bias.role) == ("bias", activation, role)
        assert (bias.fan_in, bias.fan_out) == (weight.fan_in, weight.fan_out)
        assert "not used" not in bias.note
    apply(model, "he_normal", X)
    assert model[0].b.count_nonzero() == 0


class Pair(nn.Module):
    """A trainable network and a copy of it that gives the targets."""

    def __init__(self, name: str = "teacher", frozen: bool = True) -> None:
        super().__init__()
        self.student = nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, 3))
        self.name = name
        self.add_module(name, copy.deepcopy(self.student).requires_grad_(not frozen))

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            target = self.get_submodule(self.name)(x)
        return F.mse_loss(self.student(x), target)

    def equal(self) -> bool:
        other = self.get_submodule(self.name)
        pairs = zip(self.student.parameters(), other.parameters(), strict=True)
        return all(torch.equal(one, two) for one, two in pairs)


@pytest.mark.parametrize(
    ("name", "frozen"), [("teacher", True), ("second", True), ("target_net", False)]
)
@pytest.mark.parametrize("include_frozen", [False, True])
def test_a_copy_follows_its_twin(name: str, frozen: bool, include_frozen: bool) -> None:
    model = Pair(name, frozen)
    before = model.student[0].weight.detach().clone()
    report = apply(model, "he_normal", X, include_frozen=include_frozen)
    assert model.equal()
    assert not torch.equal(model.student[0].weight, before)
    assert "follows student.0.weight" in note(report, f"{name}.0.weight")


def test_a_frozen_part_that_is_no_copy_stays() -> None:
    model = Pair()
    model.teacher[0].weight.data.mul_(2.0)
    before = copy.deepcopy(model.teacher.state_dict())
    apply(model, "he_normal", X)
    assert torch.equal(model.teacher[0].weight, before["0.weight"])
    assert not torch.equal(model.teacher[3].weight, before["3.weight"])


def test_an_average_in_a_buffer_follows_too() -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    model.register_buffer("average_0", model[0].weight.detach().clone())
    apply(model, "he_normal", X)
    assert torch.equal(model.average_0, model[0].weight)


def test_layers_that_were_copied_from_each_other_are_drawn_one_by_one() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    apply(model, "he_normal", torch.randn(2, 4, 8))
    assert not torch.equal(model.layers[0].linear1.weight, model.layers[1].linear1.weight)
