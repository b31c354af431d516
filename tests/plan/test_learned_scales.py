"""GradInit and MetaInit: a step against numerical derivatives, badly scaled models, and rules."""

import copy
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from nasty_model import TOKENS, Nasty
from optuna.trial import FixedTrial
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from initsearch import InitPlan, suggest_plan
from initsearch.errors import ConfigError, ModelError
from initsearch.initializers import GradInit, MetaInit, gradient_quotient
from initsearch.layers.differentiable import differentiable

RANDOM = torch.Generator().manual_seed(1)
X = torch.randn(64, 8, dtype=torch.float64, generator=RANDOM)
Y = (X @ torch.randn(8, 4, dtype=torch.float64, generator=RANDOM)).argmax(1)
# ReLU layers whose gradients differ by a factor of 20.
FACTORS = (8.0, 0.5, 6.0, 0.5, 8.0, 0.5, 2.0)


def deep(width: int = 16) -> nn.Sequential:
    sizes = [8, *(width,) * (len(FACTORS) - 1), 4]
    layers = [nn.Linear(a, b) for a, b in itertools.pairwise(sizes)]
    pairs = [each for layer in layers for each in (layer, nn.ReLU())]
    return nn.Sequential(*pairs[:-1]).double()


def over(name: str, **settings: object) -> dict[str, Any]:
    """A plan for `deep` that scales unequal layers."""
    bases = [{"name": "variance_scaling", "factor": factor} for factor in FACTORS]
    weights = [{"name": name, "base": base, **settings} if name else base for base in bases]
    return {
        "rules": [
            {"where": {"name": str(2 * place)}, "weight": weight, "bias": "zeros"}
            for place, weight in enumerate(weights)
        ]
    }


def gradients(model: nn.Module) -> list[Tensor]:
    loss = F.cross_entropy(model(X), Y)
    return list(torch.autograd.grad(loss, list(model.parameters())))


def norm(model: nn.Module) -> float:
    return float(torch.cat([each.flatten() for each in gradients(model)]).norm())


def spread(model: nn.Module) -> float:
    """The largest norm of a weight's gradient over the smallest."""
    norms = [float(each.norm()) for each in gradients(model) if each.ndim > 1]
    return max(norms) / min(norms)


def loss_after_a_step(model: nn.Module, eta: float = 0.1) -> float:
    moved, slope = copy.deepcopy(model), gradients(model)
    with torch.no_grad():
        for parameter, gradient in zip(moved.parameters(), slope, strict=True):
            parameter -= eta * gradient
        return float(F.cross_entropy(moved(X), Y))


def test_the_quotient_of_a_quadratic_is_its_closed_form() -> None:
    root = torch.randn(5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    hessian, slope = root @ root.T, root[0]
    parts = [root[1, :2].clone().requires_grad_(), root[1, 2:].clone().requires_grad_()]
    whole = torch.cat(parts)
    loss = whole @ hessian @ whole / 2 + slope @ whole
    g = (hessian @ whole + slope).detach()
    expected = ((g - hessian @ g) / (g + 1e-5 * g.sign()) - 1).abs().mean()
    torch.testing.assert_close(gradient_quotient(loss, parts), expected, rtol=1e-12, atol=0)


def test_the_quotient_of_a_linear_net_is_that_of_its_hessian_by_hand() -> None:
    a, b, x, y = 0.7, -1.3, 0.9, 0.4
    first, second, unused = (
        torch.tensor([value], dtype=torch.float64, requires_grad=True) for value in (a, b, 3.0)
    )
    error = b * a * x - y
    g = (error * b * x, error * a * x)
    mixed = error * x + a * b * x**2
    hg = ((b * x) ** 2 * g[0] + mixed * g[1], mixed * g[0] + (a * x) ** 2 * g[1])
    terms = [abs((u - v) / (u + math.copysign(1e-5, u)) - 1) for u, v in zip(g, hg, strict=True)]
    loss = ((second * first * x - y) ** 2 / 2).sum()
    found = float(gradient_quotient(loss, [first, second, unused]).detach())
    assert found == pytest.approx((sum(terms) + 1) / 3, rel=1e-12)


def net_loss(values: Sequence[Tensor], draw: int) -> Tensor:
    first, second, bias = values
    return F.cross_entropy(torch.tanh(X @ first.T) @ second.T + bias, Y)


def weights() -> tuple[list[Tensor], list[Tensor]]:
    drawn = torch.Generator().manual_seed(3)
    sizes = ((6, 8), (4, 6), (4,))
    first, second, bias = (
        torch.randn(size, dtype=torch.float64, generator=drawn) for size in sizes
    )
    return [first, second], [bias.requires_grad_()]


def numerical_slopes(objective: Callable[[list[Tensor]], float]) -> list[float]:
    """The derivative of an objective by each scale, by central differences."""
    base, rest = weights()
    found = []
    for place in range(len(base)):
        ends = []
        for scale in (1 + 1e-5, 1 - 1e-5):
            moved = [w * scale if place == i else w for i, w in enumerate(base)]
            ends.append(
                objective([each.detach().clone().requires_grad_() for each in moved + rest])
            )
        found.append((ends[0] - ends[1]) / 2e-5)
    return found


def gradient_at(values: list[Tensor]) -> tuple[Tensor, ...]:
    return torch.autograd.grad(net_loss(values, 0), values)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("exceeded", [False, True])
def test_a_step_of_gradinit_goes_down_the_slope_of_its_objective(
    optimizer: str, exceeded: bool
) -> None:
    order = 2 if optimizer == "sgd" else 1

    def objective(values: list[Tensor]) -> float:
        g = gradient_at(values)
        if exceeded:
            return float(torch.cat([each.flatten() for each in g]).norm(order))
        change = g if optimizer == "sgd" else [each.sign() for each in g]
        return float(
            net_loss([v - 0.05 * c for v, c in zip(values, change, strict=True)], 1).detach()
        )

    gamma = 1e-3 if exceeded else 1e3
    chosen = GradInit(steps=1, lr=0.02, optimizer=optimizer, eta=0.05, gamma=gamma)
    # Adam's first step has the size of its learning rate.
    expected = [1 - math.copysign(0.02, slope) for slope in numerical_slopes(objective)]
    assert chosen.learned(*weights(), net_loss) == pytest.approx(expected, abs=1e-5)


def test_a_step_of_metainit_changes_norms_down_the_slope_of_the_quotient() -> None:
    def quotient(values: list[Tensor]) -> float:
        sizes = [each.shape for each in values]

        def loss(flat: Tensor) -> Tensor:
            parts = flat.split([size.numel() for size in sizes])
            return net_loss([p.view(s) for p, s in zip(parts, sizes, strict=True)], 0)

        flat = torch.cat([each.detach().flatten() for each in values])
        g = torch.autograd.functional.jacobian(loss, flat)
        hg = torch.autograd.functional.hessian(loss, flat) @ g
        return float(((g - hg) / (g + 1e-5 * g.sign()) - 1).abs().mean())

    scales = MetaInit(steps=1, lr=0.1).learned(*weights(), net_loss)
    norms = [float(each.norm()) for each in weights()[0]]
    expected = [-math.copysign(0.1, slope) for slope in numerical_slopes(quotient)]
    changes = [(scale - 1) * size for scale, size in zip(scales, norms, strict=True)]
    assert changes == pytest.approx(expected, rel=1e-9)


def test_gradinit_lowers_the_loss_after_a_step_and_keeps_its_bound() -> None:
    base = {"name": "variance_scaling", "factor": 4.0}
    before, after = deep(), deep()
    InitPlan.from_spec(base).apply(before, seed=0)
    plan = InitPlan.from_spec({"name": "gradinit", "base": base, "steps": 20, "lr": 0.04})
    report = plan.apply(after, seed=0, batch=(X, Y))
    assert norm(before) > 10
    assert loss_after_a_step(before) > 3
    assert norm(after) < 1.5
    assert loss_after_a_step(after) < math.log(4)
    assert spread(after) < spread(before)
    for row, drawn, scaled in zip(
        report.rows, before.parameters(), after.parameters(), strict=True
    ):
        if drawn.ndim > 1:
            scale = float(row.note.removeprefix("scaled by "))
            assert 0.01 <= scale < 1
            torch.testing.assert_close(scaled, scale * drawn, rtol=1e-3, atol=0)


def test_metainit_brings_gradients_together_and_needs_no_data() -> None:
    before, after, again = deep(), deep(), deep()
    InitPlan.from_spec(over("")).apply(before, seed=0)
    plan = InitPlan.from_spec(over("metainit", steps=40))
    state = torch.get_rng_state()
    plan.apply(after, seed=0)
    assert torch.equal(torch.get_rng_state(), state)
    assert spread(after) < spread(before) / 2
    plan.apply(again, seed=0)
    assert all(map(torch.equal, after.parameters(), again.parameters()))


class Mixed(nn.Module):
    """Attention, an LSTM, batch norm, dropout, a tied embedding, a parametrized and a frozen weight."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 8, padding_idx=0)
        self.attention = nn.MultiheadAttention(8, 2, dropout=0.5, batch_first=True)
        self.rnn = nn.LSTM(8, 8, batch_first=True)
        self.norm = nn.BatchNorm1d(8)
        self.drop = nn.Dropout(0.5)
        self.normed = parametrizations.weight_norm(nn.Linear(8, 8))
        self.fixed = nn.Linear(8, 8).requires_grad_(False)
        self.head = nn.Linear(8, 7, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens)
        x = x + self.attention(x, x, x, need_weights=False)[0]
        x = self.drop(self.rnn(x)[0])
        x = self.norm(x.transpose(1, 2)).transpose(1, 2)
        return self.head(self.fixed(self.normed(x)))


@pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")
@pytest.mark.parametrize("name", ["gradinit", "metainit"])
def test_any_kind_of_layer_is_scaled(name: str) -> None:
    torch.manual_seed(0)
    model = Mixed()
    tokens = torch.arange(40).view(10, 4) % 7
    rest = {key: value.clone() for key, value in model.named_buffers()}
    report = InitPlan.from_spec({"name": name, "steps": 2}).apply(model, batch=(tokens, tokens))
    notes = {row.parameter: row.note for row in report.rows}
    learned = {key for key, note in notes.items() if "scaled by" in note}
    assert learned == {
        "embedding.weight",
        "attention.in_proj_weight",
        "attention.out_proj.weight",
        "rnn.weight_ih_l0",
        "rnn.weight_hh_l0",
    }
    assert "not scaled" in notes["normed.weight"]
    assert "frozen" in notes["fixed.weight"]
    assert all(torch.equal(value, rest[key]) for key, value in model.named_buffers())
    assert model.training
    assert not model.embedding.weight[0].any()
    nasty = Nasty()
    InitPlan.from_spec({"name": name, "steps": 1}).apply(nasty, batch=TOKENS)
    assert all(bool(torch.isfinite(each).all()) for each in nasty.parameters())
    # Without labels, classes are random: the report says so where the batch is data.
    report = InitPlan.from_spec({"name": name, "steps": 1}).apply(Mixed(), batch=tokens)
    assert ("random" in str(report)) == (name == "gradinit")


def test_a_loss_of_ones_own_takes_its_own_batch() -> None:
    seen: list[Tensor] = []

    def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        seen.append(batch[1])
        return F.mse_loss(model(batch[0])[:, 0], batch[1])

    target = X[:, 0]
    plan = InitPlan.from_spec({"name": "gradinit", "steps": 3, "gamma": 1e9})
    plan.apply(deep(), batch=X[:2], loss=loss, loss_batch=(X, target))
    assert torch.equal(seen[0], target)  # to see whether it works
    halves = [set(each.tolist()) for each in seen[1:3]]
    assert [len(half) for half in halves] == [32, 32]
    assert len(halves[0] & halves[1]) == 16


def test_in_a_space_it_is_an_initializer_like_others() -> None:
    space = {"groups": {"all": {"weight": {"gradinit": {"lr": [0.01, 0.05]}, "he_normal": None}}}}
    plan = suggest_plan(FixedTrial({"all.scheme": "gradinit", "all.gradinit.lr": 0.05}), space)
    assert plan.needs == {"batch", "loss"}
    assert plan == InitPlan.from_spec({"name": "gradinit", "lr": 0.05})
    assert InitPlan.from_spec(plan.spec()) == plan


def test_what_cannot_be_is_one_line() -> None:
    two = {"rules": [{"where": {"name": "0"}, "weight": "gradinit"}, {"weight": "metainit"}]}
    part = {"rules": [{"where": {"part": "query"}, "weight": "metainit"}]}
    large = {"name": "gradinit", "base": {"name": "normal", "std": 1e200}}
    cases: list[tuple[type[Exception], str, Callable[[], object]]] = [
        (ConfigError, "base must draw", lambda: GradInit(base="lsuv")),
        (ConfigError, "momentum", lambda: MetaInit(momentum=1.0)),
        (ConfigError, "optimizer", lambda: GradInit(optimizer="lion")),
        (ConfigError, "in one way", lambda: InitPlan.from_spec(two).apply(deep(), batch=(X, Y))),
        (ConfigError, "one part", lambda: InitPlan.from_spec(part).apply(Mixed())),
        (ModelError, "batch=", lambda: InitPlan.from_spec("gradinit").apply(deep())),
        (ModelError, "finite", lambda: InitPlan.from_spec(large).apply(deep(), batch=(X, Y))),
        (
            ModelError,
            "labels of shape",
            lambda: InitPlan.from_spec("gradinit").apply(deep(), batch=(X, Y[:5])),
        ),
        (ConfigError, "to_code", lambda: InitPlan.from_spec("gradinit").to_code(deep())),
    ]
    for kind, words, call in cases:
        with pytest.raises(kind, match=words) as raised:
            call()
        assert "\n" not in str(raised.value)


def test_norms_by_the_statistics_of_a_batch_are_torch_s_with_more_derivatives() -> None:
    for norm in (nn.BatchNorm2d(3).train(), nn.InstanceNorm2d(3, affine=True)):
        nn.init.normal_(norm.weight)
        x = torch.randn(4, 3, 5, 5, requires_grad=True)
        expected = norm(x)
        with differentiable(norm, norm.training):
            found = norm(x)
            torch.testing.assert_close(found, expected)
            for _ in range(3):
                (found,) = torch.autograd.grad(found.pow(2).sum(), [x], create_graph=True)
        assert float(found.detach().abs().sum()) > 0
