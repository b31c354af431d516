"""The exact checks: they find models that cannot learn, and no model that can."""

from collections.abc import Callable

import pytest
import torch
from signal_nets import Residual, fill, mlp, weights
from torch import Tensor, nn
from torch.nn import functional as F

from initsearch.errors import ModelError
from initsearch.signal import ExactFinding, exact_checks


def batch(samples: int = 64, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Noise, and labels that can be learned from it."""
    x = torch.randn(samples, 20, generator=torch.Generator().manual_seed(0)).to(dtype)
    return x, x[:, :10].argmax(1)


def images() -> tuple[Tensor, Tensor]:
    x = torch.randn(32, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    return x, x.flatten(1)[:, :10].argmax(1)


def train(model: nn.Module, data: tuple[Tensor, Tensor], steps: int = 60, lr: float = 0.5) -> float:
    """By how much plain gradient descent reduces the loss."""
    x, y = data
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    first = last = F.cross_entropy(model(x), y).item()
    for _ in range(steps):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        last = loss.item()
    return first - last


def checks(findings: tuple[ExactFinding, ...]) -> set[str]:
    return {each.check for each in findings}


# --- models that learn pass all checks -----------------------------------------------------------


def zero_first(activation: type[nn.Module]) -> nn.Module:
    model = mlp(16, 1, activation).double()
    nn.init.zeros_(model[0].weight)
    nn.init.zeros_(model[0].bias)
    fill(model[2], 1.0)
    return model


def zero_head(activation: type[nn.Module]) -> nn.Module:
    model = mlp(16, 2, activation).double()
    nn.init.zeros_(model[-1].weight)
    nn.init.zeros_(model[-1].bias)
    return model


def zero_first_and_head() -> nn.Module:
    model = mlp(16, 2, nn.Tanh).double()
    for layer in (model[0], model[-1]):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    fill(model[2], 0.5, bias=0.1)
    return model


def ones_regression() -> nn.Module:
    model = mlp(16, 0).double()
    nn.init.ones_(model[0].weight)
    return model


def equal_weights_unequal_biases() -> nn.Module:
    model = mlp(16, 1, nn.Tanh).double()
    for layer in weights(model):
        nn.init.constant_(layer.weight, 0.1)
    return model  # torch's default draws the biases


def half_equal() -> nn.Module:
    model = mlp(16, 1, nn.Tanh).double()
    with torch.no_grad():
        model[0].weight[8:] = 0.0
        model[0].bias[8:] = 0.0
        model[2].weight[:, 8:] = 0.0
    return model


def one_unit_by_design() -> nn.Module:
    model = nn.Sequential(nn.Linear(20, 1), nn.Tanh(), nn.Linear(1, 10)).double()
    nn.init.ones_(model[0].weight)
    nn.init.ones_(model[2].weight)
    return model


def equal_but_for_dropout() -> nn.Module:
    model = nn.Sequential(nn.Linear(20, 16), nn.Tanh(), nn.Dropout(0.5), nn.Linear(16, 10)).double()
    for layer in weights(model):
        nn.init.constant_(layer.weight, 0.1)
        nn.init.zeros_(layer.bias)
    return model


def equal_but_for_slopes() -> nn.Module:
    model = mlp(16, 1, lambda: nn.PReLU(16)).double()
    with torch.no_grad():
        model[1].weight.uniform_(0, 1, generator=torch.Generator().manual_seed(0))
    for layer in weights(model):
        nn.init.constant_(layer.weight, 0.1)
        nn.init.zeros_(layer.bias)
    return model


def equal_but_for_slopes_below_a_zero_head() -> nn.Module:
    model = nn.Sequential(
        nn.Linear(20, 16), nn.PReLU(16), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 10)
    ).double()
    with torch.no_grad():
        model[0].weight.fill_(0.1)
        model[0].bias.zero_()
        model[1].weight.uniform_(0, 1, generator=torch.Generator().manual_seed(0))
        model[2].weight.copy_(torch.linspace(-0.3, 0.3, 16).unsqueeze(1).expand(16, 16))
        model[4].weight.zero_()
        model[4].bias.zero_()
    return model


GOOD: dict[str, Callable[[], nn.Module]] = {
    "zero first, sigmoid": lambda: zero_first(nn.Sigmoid),
    "zero first, tanh": lambda: zero_first(nn.Tanh),
    "zero head, relu": lambda: zero_head(nn.ReLU),
    "zero head, tanh": lambda: zero_head(nn.Tanh),
    "zero first and zero head, tanh": zero_first_and_head,
    "softmax regression from ones": ones_regression,
    "equal weights, unequal biases": equal_weights_unequal_biases,
    "half the units equal and off": half_equal,
    "a layer of one unit": one_unit_by_design,
    "equal but for dropout": equal_but_for_dropout,
    "equal but for the slopes of PReLU": equal_but_for_slopes,
    "the same below a zero head": equal_but_for_slopes_below_a_zero_head,
    "as torch draws it": lambda: mlp(16, 3).double(),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_model_that_learns_passes_all_checks(name: str) -> None:
    torch.manual_seed(0)
    model = GOOD[name]()
    assert exact_checks(model, batch()) == ()
    assert exact_checks(model, batch()[0]) == ()
    assert train(model, batch()) > 0.1  # it does learn


@pytest.mark.parametrize("last", ["zero", "fixup", "skip_init", "gamma"])
def test_zeroed_residual_branches_pass_all_checks(last: str) -> None:
    torch.manual_seed(0)
    model = Residual(last)
    assert exact_checks(model, images()) == ()
    assert train(model, images(), steps=60, lr=0.2) > 0.1


def test_equal_units_beside_a_shortcut_pass_all_checks() -> None:
    class Beside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.one, self.two = nn.Linear(20, 16), nn.Linear(16, 16), nn.Linear(16, 16)
            self.head = nn.Linear(16, 10)
            for layer in (self.one, self.two):
                nn.init.constant_(layer.weight, 0.05)
                nn.init.zeros_(layer.bias)

        def forward(self, x: Tensor) -> Tensor:
            x = torch.tanh(self.stem(x))
            return self.head(x + self.two(torch.tanh(self.one(x))))

    torch.manual_seed(0)
    model = Beside().double()
    assert exact_checks(model, batch()) == ()
    assert train(model, batch()) > 0.1


def test_a_signal_that_almost_vanishes_is_no_proof() -> None:
    model = mlp(32, 10).double()
    for layer in weights(model):
        fill(layer, 0.01)
    assert exact_checks(model, batch()) == ()


# --- models that cannot learn are found ----------------------------------------------------------


def constant(activation: type[nn.Module], value: float, depth: int = 2) -> nn.Module:
    model = mlp(16, depth, activation).double()
    for layer in weights(model):
        nn.init.constant_(layer.weight, value)
        nn.init.zeros_(layer.bias)
    return model


@pytest.mark.parametrize(
    ("activation", "value"), [(nn.Sigmoid, 0.0), (nn.Sigmoid, 0.3), (nn.Tanh, 0.05), (nn.ReLU, 0.1)]
)
def test_units_that_stay_identical_are_found(activation: type[nn.Module], value: float) -> None:
    model = constant(activation, value, depth=1)
    (finding,) = exact_checks(model, batch())
    assert (finding.check, finding.where) == ("symmetric", "0.weight")
    assert "16 units of 0.weight" in finding.message
    train(model, batch())
    # In float64 rounding does not make them different: they are still identical.
    hidden = model[0].weight
    assert torch.allclose(hidden, hidden[:1].expand_as(hidden), rtol=0, atol=1e-9)


def test_every_constant_layer_is_named() -> None:
    found = exact_checks(constant(nn.Tanh, 0.05, depth=3), batch())
    assert [each.where for each in found] == ["0.weight", "2.weight", "4.weight"]


def test_constant_convolutions_before_a_flattened_head_are_found() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Tanh(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(16, 10),
    )  # fmt: skip
    nn.init.constant_(model[0].weight, 0.2)
    nn.init.zeros_(model[0].bias)
    nn.init.constant_(model[5].weight, 0.1)
    assert checks(exact_checks(model, images())) == {"symmetric"}
    # With one different outgoing weight, the units become different.
    with torch.no_grad():
        model[5].weight[0, 0] += 0.5
    assert exact_checks(model, images()) == ()


@pytest.mark.parametrize("depth", [1, 3])
def test_an_all_zero_net_only_changes_its_output_bias(depth: int) -> None:
    for activation in (nn.ReLU, nn.Tanh):
        model = constant(activation, 0.0, depth)
        (finding,) = exact_checks(model, batch())
        assert finding.check == "no_gradient"
        assert f"{2 * depth}.bias" in finding.message
        before = [p.clone() for p in model.parameters()]
        train(model, batch())
        moved = [not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True)]
        assert moved == [False] * (len(moved) - 1) + [True]


def test_relu_units_that_are_all_off() -> None:
    model = mlp(16, 2).double()
    nn.init.constant_(model[2].bias, -1e3)
    assert checks(exact_checks(model, batch())) == {"no_gradient"}
    without = nn.Sequential(nn.Linear(20, 8), nn.ReLU(), nn.Linear(8, 10, bias=False)).double()
    nn.init.constant_(without[0].bias, -1e3)
    (finding,) = exact_checks(without, batch())
    assert "every gradient is zero" in finding.message


def test_frozen_parameters_do_not_count_as_learning() -> None:
    model = mlp(16, 2).double()
    model[0].requires_grad_(False)
    model[2].requires_grad_(False)
    model[4].weight.requires_grad_(False)
    (finding,) = exact_checks(model, batch())
    assert finding.check == "no_gradient"


def test_what_overflows_forward_and_backward() -> None:
    model = mlp(16, 3)
    for layer in weights(model):
        fill(layer, 1e15)
    x, y = batch(dtype=torch.float32)
    (finding,) = exact_checks(model, (x, y))
    assert (finding.check, finding.where) == ("non_finite", "4.weight")
    assert "forward" in finding.message

    # sqrt at zero: its value is finite, its slope is not.
    class Root(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(20, 10)
            nn.init.zeros_(self.inner.weight)
            nn.init.zeros_(self.inner.bias)

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x).sqrt()

    (finding,) = exact_checks(Root(), (x, y))
    assert finding.check == "non_finite"
    assert "backward" in finding.message


def test_logits_masked_by_infinity_pass() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(20, 12)

        def forward(self, x: Tensor) -> Tensor:
            mask = torch.zeros(12, dtype=torch.bool)
            mask[10:] = True
            return self.inner(x).masked_fill(mask, -torch.inf)

    assert exact_checks(Masked(), batch(dtype=torch.float32)) == ()


# --- effects on the model and its optimizer ------------------------------------------------------


def test_the_model_is_left_as_it_was() -> None:
    model = nn.Sequential(nn.Linear(20, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 10))
    model.eval()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    random_state = torch.get_rng_state()
    exact_checks(model, batch(dtype=torch.float32))
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(random_state, torch.get_rng_state())
    assert not model.training


def test_an_optimizer_that_steps_in_the_backward_pass_does_not_step() -> None:
    model = mlp(8, 1)
    steps: list[Tensor] = []
    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(steps.append)
    exact_checks(model, batch(dtype=torch.float32))
    assert steps == []


def test_a_model_with_all_parameters_frozen_is_refused() -> None:
    model = mlp(8, 1).requires_grad_(False)
    with pytest.raises(ModelError, match="requires a gradient"):
        exact_checks(model, batch(dtype=torch.float32))
