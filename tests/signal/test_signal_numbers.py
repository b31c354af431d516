"""The numbers of a report, against closed forms, NumPy and hand-written autograd."""

import math

import numpy as np
import pytest
import torch
from signal_nets import classes, fill, mlp, noise
from torch import Tensor, nn
from torch.nn import functional as F

from initsearch.signal import diagnose


def spread_of(x: Tensor) -> float:
    """Root mean square over features of the standard deviation over samples, by NumPy."""
    return float(np.sqrt(np.mean(np.var(x.numpy().astype(np.float64), axis=0))))


def test_a_scaled_rotation_scales_signal_and_gradient_by_its_factor() -> None:
    factors = (0.5, 3.0, 2.0, 0.1)
    model = nn.Sequential(*(nn.Linear(16, 16, bias=False) for _ in factors))
    for layer, factor in zip(model, factors, strict=True):
        nn.init.orthogonal_(layer.weight, gain=factor)
    x = noise(40, 16)
    report = diagnose(model, x)
    assert [each.activation for each in report.rows] == ["none"] * 4
    for number, each in enumerate(report.rows):
        gain = math.prod(factors[: number + 1])
        assert each.pre_spread == pytest.approx(gain * spread_of(x), rel=1e-5)
        assert each.post_std == each.pre_std == each.output_std
        # The gradient at the output, times the factors of the later layers.
        rest = math.prod(factors[number + 1 :])
        top = report.rows[-1].pre_gradient
        assert top is not None
        assert each.pre_gradient == pytest.approx(rest * top, rel=1e-5)
        if number < 3:
            assert each.gradient_ratio == pytest.approx(factors[number + 1], rel=1e-5)
    assert report.rows[-1].gradient_ratio is None


def test_the_default_gradient_at_the_output_is_standard_normal_noise_over_the_samples() -> None:
    model = nn.Linear(5, 400, bias=False)
    (only,) = diagnose(model, noise(50, 5)).rows
    assert only.gradient_std == pytest.approx(1 / 50, rel=0.02)
    assert only.pre_gradient == pytest.approx(math.sqrt(50 * 400) / 50, rel=0.02)


class Plain(nn.Module):
    """Functional and in-place activations, in a net whose forward pass is easily written by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(20, 30)
        self.two = nn.Linear(30, 25)
        self.three = nn.Linear(25, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.one(x), inplace=True)
        return self.three(torch.tanh(self.two(x)))


def test_all_numbers_against_a_pass_written_by_hand() -> None:
    torch.manual_seed(3)
    model, x, y = Plain(), noise(32, 20), classes(32)
    z1 = F.linear(x, model.one.weight, model.one.bias)
    a1 = z1.clamp(min=0)
    z2 = F.linear(a1, model.two.weight, model.two.bias)
    a2 = z2.tanh()
    z3 = F.linear(a2, model.three.weight, model.three.bias)
    matrices = [model.one.weight, model.two.weight, model.three.weight]
    loss = -z3.log_softmax(1)[torch.arange(32), y].mean()
    gradients = torch.autograd.grad(loss, [z1, z2, z3, *matrices])
    report = diagnose(model, (x, y))
    assert [each.activation for each in report.rows] == ["relu", "tanh", "none"]
    assert report.loss == "cross-entropy"
    assert report.loss_value == pytest.approx(loss.item())
    for number, (each, before, after) in enumerate(
        zip(report.rows, (z1, z2, z3), (a1, a2, z3), strict=True)
    ):
        pre, post = before.detach().double().numpy(), after.detach().double().numpy()
        assert each.pre_mean == pytest.approx(pre.mean(), abs=1e-6)
        assert each.pre_std == pytest.approx(pre.std(), rel=1e-5)
        assert each.pre_spread == pytest.approx(math.sqrt(pre.var(axis=0).mean()), rel=1e-5)
        assert each.post_mean == pytest.approx(post.mean(), abs=1e-6)
        assert each.post_std == pytest.approx(post.std(), rel=1e-5)
        assert each.pre_gradient == pytest.approx(gradients[number].norm().item(), rel=1e-4)
        assert each.gradient_std == pytest.approx(
            gradients[number].double().std(correction=0).item(), rel=1e-4
        )
        assert each.weight_gradient == pytest.approx(gradients[3 + number].norm().item(), rel=1e-4)
        sigma = np.linalg.svd(post, compute_uv=False)
        shares = sigma[sigma > 0] / sigma.sum()
        assert each.effective_rank == pytest.approx(math.exp(-(shares * np.log(shares)).sum()))
        assert each.rank_limit == min(post.shape)


@pytest.mark.parametrize(
    ("values", "rank"),
    [
        (torch.eye(6), 6.0),
        (torch.diag(torch.tensor([3.0, 1.0])), 0.75**-0.75 * 0.25**-0.25),
        (torch.ones(7, 5), 1.0),
        (torch.zeros(4, 4), 0.0),
    ],
)
def test_the_effective_rank_of_a_known_matrix(values: Tensor, rank: float) -> None:
    model = nn.Linear(values.shape[1], values.shape[1], bias=False)
    nn.init.eye_(model.weight)
    (only,) = diagnose(model, values).rows
    assert only.effective_rank == pytest.approx(rank, rel=1e-6)


def test_dead_units_of_a_relu_layer_are_counted() -> None:
    model = mlp(8, 1)
    with torch.no_grad():
        model[0].bias[:3] = -1e3  # off for every sample
        model[0].weight[3] = 0.0  # on for every sample, and always the same
        model[0].bias[3] = 1.0
    first, _ = diagnose(model, noise(64, 20)).rows
    assert first.pre_dead == pytest.approx(1 / 8)
    assert first.post_dead == pytest.approx(4 / 8)
    assert first.blocked == pytest.approx(3 / 8)
    assert first.saturated == 0.0


def test_saturated_units_of_tanh_and_sigmoid_are_counted() -> None:
    for activation, edge in ((nn.Tanh, math.atanh(math.sqrt(0.95))), (nn.Sigmoid, 4.357)):
        # Slopes of 5% of the steepest: 1 - tanh^2 = .05, and s(1 - s) = .05 / 4.
        model = nn.Sequential(nn.Linear(1, 1, bias=False), activation(), nn.Linear(1, 1))
        nn.init.ones_(model[0].weight)
        x = torch.linspace(-10, 10, 2001).unsqueeze(1)
        first, _ = diagnose(model, x).rows
        assert first.saturated == pytest.approx(1 - edge / 10, abs=2e-3)


@pytest.mark.parametrize(
    ("activation", "dead"),
    [(nn.ReLU6, True), (nn.GELU, True), (nn.Hardswish, True), (nn.LeakyReLU, False)],
)
def test_which_activations_have_dead_units(activation: type[nn.Module], dead: bool) -> None:
    model = nn.Sequential(nn.Linear(4, 6), activation(), nn.Linear(6, 2))
    fill(model[0], 0.1, bias=-20.0)
    first, _ = diagnose(model, noise(32, 4)).rows
    assert first.blocked == (1.0 if dead else 0.0)
    assert first.verdict == ("dead" if dead else "healthy")
    assert first.saturated == 0.0


def test_an_in_place_activation_is_measured_by_its_input() -> None:
    model = nn.Sequential(nn.Linear(4, 6), nn.ELU(inplace=True), nn.Linear(6, 2))
    fill(model[0], 0.1, bias=-20.0)
    first, _ = diagnose(model, noise(32, 4)).rows
    assert first.blocked == 1.0
    assert first.pre_mean == pytest.approx(-20.0, rel=0.1)
    assert first.post_mean == pytest.approx(-1.0)


def test_values_that_do_not_depend_on_the_input_have_no_spread() -> None:
    model = nn.Linear(16, 64)
    nn.init.zeros_(model.weight)
    with torch.no_grad():
        model.bias.copy_(noise(64))
    (only,) = diagnose(model, noise(31, 16)).rows
    assert only.pre_spread == 0.0
    assert only.pre_dead == 1.0
    assert only.pre_std == pytest.approx(noise(64).std(correction=0).item())


def test_numbers_beyond_float32_squares_are_kept() -> None:
    for factor in (1e-25, 1e25):
        model = nn.Sequential(nn.Linear(16, 16, bias=False), nn.Linear(16, 3, bias=False))
        nn.init.orthogonal_(model[0].weight, gain=factor)
        x = noise(30, 16)
        first, _ = diagnose(model, x).rows
        assert first.pre_spread == pytest.approx(factor * spread_of(x), rel=1e-5)


def test_biases_raise_the_deviation_but_not_the_spread_between_samples() -> None:
    model = nn.Linear(16, 64)
    fill(model, 1e-6)
    with torch.no_grad():
        model.bias.copy_(noise(64))
    (only,) = diagnose(model, noise(32, 16)).rows
    assert only.pre_std == pytest.approx(1.0, rel=0.2)
    assert only.pre_spread == pytest.approx(4e-6, rel=0.2)
    assert only.verdict == "vanishing"


def test_the_histogram_counts_what_numpy_counts() -> None:
    model = nn.Linear(16, 64)
    x = noise(100, 16)
    (only,) = diagnose(model, x).rows
    values = F.linear(x, model.weight, model.bias).detach().double().numpy()
    assert only.histogram is not None
    expected, _ = np.histogram(values, bins=np.array(only.histogram.edges))
    assert np.abs(expected - np.array(only.histogram.counts)).sum() <= 10  # edges are rounded
    assert sum(only.histogram.counts) == values.size
    assert only.histogram.edges[0] == pytest.approx(values.min())
    assert only.histogram.edges[-1] == pytest.approx(values.max())


def test_channels_are_the_units_of_convolutions_and_a_norm_hides_the_scale() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 36, 10)
    )
    fill(model[0], 30.0)
    x = noise(16, 3, 8, 8)
    first, _ = diagnose(model, x).rows
    bare = F.conv2d(x, model[0].weight, model[0].bias)
    assert first.units == 6
    assert first.output_std == pytest.approx(bare.std(correction=0).item(), rel=1e-5)
    assert first.pre_std == pytest.approx(1.0, rel=1e-3)
    assert first.verdict == "healthy"
    assert "bare std" in str(diagnose(model, x))
