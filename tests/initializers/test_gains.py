"""Gains and the edge of chaos, against published figures, scipy's quadrature and closed forms."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import integrate, optimize, special
from torch import Tensor, nn
from torch.nn import functional as F

from initsearch.errors import ConfigError
from initsearch.initializers import (
    Constant,
    EdgeOfChaos,
    Normal,
    critical_weight_variance,
    gain,
    get_initializer,
    list_activations,
)
from initsearch.initializers.quadrature import second_moment, slope_moment


def expectation(function: Callable[[float], float], variance: float = 1.0) -> float:
    """E[f(z)], z ~ N(0, variance), by scipy's adaptive quadrature."""

    def integrand(x: float) -> float:
        return function(math.sqrt(variance) * x) * math.exp(-x * x / 2) / math.sqrt(2 * math.pi)

    kinks = [k / math.sqrt(variance) for k in (-6, -3, -1, -0.5, 0, 0.5, 1, 3, 6)]
    inside = [k for k in kinks if abs(k) < 12]
    return float(integrate.quad(integrand, -12, 12, points=inside, limit=400)[0])


@pytest.mark.parametrize(
    ("activation", "figure"),
    [
        ("relu", 1.414),
        ("gelu", 1.5335),
        ("silu", 1.6765),
        ("tanh", 1.5925),
        ("selu", 1.0),
        ("elu", 1.2452),
        ("sigmoid", 1.8462),
    ],
)
def test_second_moment_gains(activation: str, figure: float) -> None:
    assert gain(activation) == pytest.approx(figure, abs=5e-4 if activation == "relu" else 5e-5)


@pytest.mark.parametrize(
    ("activation", "figure"), [("gelu", 1.4811), ("silu", 1.6233), ("tanh", 1.4674)]
)
def test_chi_gains(activation: str, figure: float) -> None:
    assert gain(activation, "chi") == pytest.approx(figure, abs=5e-5)


NUMPY: dict[str, Callable[[float], float]] = {
    "elu": lambda z: z if z > 0 else math.expm1(z),
    "gelu": lambda z: z * float(special.ndtr(z)),
    "hardsigmoid": lambda z: min(max(z / 6 + 0.5, 0), 1),
    "hardtanh": lambda z: min(max(z, -1), 1),
    "leaky_relu": lambda z: z if z > 0 else 0.01 * z,
    "linear": lambda z: z,
    "mish": lambda z: z * math.tanh(float(np.logaddexp(0, z))),
    "relu": lambda z: max(z, 0),
    "relu6": lambda z: min(max(z, 0), 6),
    "sin": math.sin,
    "softplus": lambda z: float(np.logaddexp(0, z)),
    "softshrink": lambda z: z - 0.5 if z > 0.5 else z + 0.5 if z < -0.5 else 0,
    "softsign": lambda z: z / (1 + abs(z)),
    "tanhshrink": lambda z: z - math.tanh(z),
}


@pytest.mark.parametrize("activation", sorted(NUMPY))
@pytest.mark.parametrize("variance", [0.3, 1.0, 4.0])
def test_second_moments_equal_scipy_s(activation: str, variance: float) -> None:
    from initsearch.initializers.gains import find_activation

    expected = expectation(lambda z: NUMPY[activation](z) ** 2, variance)
    assert second_moment(find_activation(activation), variance) == pytest.approx(expected, rel=1e-6)


def gelu_slope(z: float) -> float:
    return float(special.ndtr(z)) + z * math.exp(-z * z / 2) / math.sqrt(2 * math.pi)


def test_slope_moments_equal_scipy_s() -> None:
    # Hand-written derivatives: the oracle does not use torch's autograd.
    for variance in (0.3, 1.0, 4.0):
        for function, slope in (
            (F.gelu, gelu_slope),
            (torch.tanh, lambda z: 1 / math.cosh(z) ** 2),
            (F.elu, lambda z: 1 if z > 0 else math.exp(z)),
            (F.hardtanh, lambda z: float(abs(z) < 1)),
        ):
            expected = expectation(lambda z, slope=slope: slope(z) ** 2, variance)
            assert slope_moment(function, variance) == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize("name", ["linear", "sigmoid", "tanh", "relu", "leaky_relu", "selu"])
def test_torch_s_table(name: str) -> None:
    assert gain(name, "torch") == nn.init.calculate_gain(name)
    assert gain("leaky_relu", "torch", 0.3) == nn.init.calculate_gain("leaky_relu", 0.3)


@pytest.mark.parametrize("slope", [0.0, 0.2, 1.0])
def test_leaky_relu_has_he_s_closed_form(slope: float) -> None:
    expected = math.sqrt(2 / (1 + slope**2))
    assert gain("leaky_relu", param=slope) == pytest.approx(expected, rel=1e-9)
    assert gain(nn.LeakyReLU(slope), "chi") == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", list_activations())
def test_every_listed_activation_has_a_gain(name: str) -> None:
    assert 0.5 < gain(name) < 20
    if name not in {"hardshrink", "rrelu"}:
        assert 0.5 < gain(name, "chi") < 20


class Squashed(nn.Module):
    def __init__(self, sharpness: float = 1.0) -> None:
        super().__init__()
        self.sharpness = nn.Parameter(torch.tensor(sharpness))
        self.dropout = nn.Dropout(0.5)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.dropout(torch.tanh(self.sharpness * inputs))


def test_users_modules_and_functions_have_a_gain() -> None:
    assert gain(Squashed()) == pytest.approx(gain("tanh"), rel=1e-9)
    expected = 1 / math.sqrt(expectation(lambda z: math.tanh(2 * z) ** 2))
    module = Squashed(2.0)
    assert gain(module) == pytest.approx(expected, rel=1e-6)
    assert module.training, "a copy is evaluated, not the module itself"
    assert module.sharpness.dtype == torch.float32
    assert module.sharpness.grad is None
    assert gain(f"{__name__}.Squashed", param=2.0) == pytest.approx(expected, rel=1e-6)
    assert gain("torch.erf") == pytest.approx(gain(torch.erf))
    assert gain(nn.ReLU(inplace=True), "chi") == pytest.approx(math.sqrt(2))
    with torch.no_grad():
        assert gain(torch.arctan, "chi") > 1
    with torch.inference_mode():
        assert gain(torch.atan, "chi") == pytest.approx(gain(torch.arctan, "chi"))


def test_gains_leave_the_random_state_untouched() -> None:
    before = torch.get_rng_state()
    gain(lambda z: z + 1e-12 * torch.randn(1))
    assert torch.equal(torch.get_rng_state(), before)


BAD_GAINS = [
    (lambda: gain("reul"), "unknown activation 'reul': did you mean relu"),
    (lambda: gain("relu", "chy"), "unknown gain method 'chy': did you mean chi"),
    (lambda: gain("gelu", "torch"), "torch's table has .* but got 'gelu': use gain: second_moment"),
    (lambda: gain("relu", param=1.0), "'relu' has no parameter"),
    (lambda: gain(nn.ReLU(), param=1.0), "param needs an activation by name"),
    (lambda: gain(nn.ReLU(), "torch"), "goes by name"),
    (lambda: gain(nn.Softmax(-1)), "must work entry by entry"),
    (lambda: gain(nn.Softmax(1)), "must take a float64 vector"),
    (lambda: gain(nn.GLU()), "must work entry by entry"),
    (lambda: gain(torch.log), "must be finite on the real line"),
    (lambda: gain(lambda z: 0 * z), "must not be zero"),
    (lambda: gain(torch.sign, "chi"), "must not be zero"),
    (lambda: gain(lambda z: torch.ones_like(z), "chi"), "must be differentiable"),
    (lambda: gain(lambda z: z.abs().sqrt(), "chi") and gain("nowhere.phi"), "no module 'nowhere'"),
    (lambda: gain("torch.nn.functional.nothing"), "has no 'nothing'"),
    (lambda: gain("math.pi"), "must lead to a function or a Module class"),
]


@pytest.mark.parametrize(("call", "message"), BAD_GAINS, ids=[text for _, text in BAD_GAINS])
def test_refusals(call: Callable[[], float], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("bias_variance", "figure"), [(0.01, 1.424), (0.05, 1.761), (0.1, 1.986), (0.3, 2.505)]
)
def test_edge_of_chaos_of_tanh(bias_variance: float, figure: float) -> None:
    variance = critical_weight_variance("tanh", bias_variance)
    assert variance == pytest.approx(figure, abs=5e-4)


@pytest.mark.parametrize(
    ("activation", "phi", "slope"),
    [
        ("tanh", math.tanh, lambda z: 1 / math.cosh(z) ** 2),
        ("elu", NUMPY["elu"], lambda z: 1 if z > 0 else math.exp(z)),
        ("gelu", NUMPY["gelu"], gelu_slope),
        ("sigmoid", special.expit, lambda z: float(special.expit(z) * special.expit(-z))),
    ],
)
@pytest.mark.parametrize("bias_variance", [0.02, 0.2])
def test_edge_of_chaos_solves_both_equations(
    activation: str,
    phi: Callable[[float], float],
    slope: Callable[[float], float],
    bias_variance: float,
) -> None:
    weight_variance = critical_weight_variance(activation, bias_variance)

    def chi(q: float) -> float:
        return weight_variance * expectation(lambda z: slope(z) ** 2, q)

    q = optimize.brentq(lambda q: chi(q) - 1, 1e-3, 100 if activation == "sigmoid" else 10)
    mapped = weight_variance * expectation(lambda z: phi(z) ** 2, q) + bias_variance
    assert mapped == pytest.approx(q, rel=1e-4)


def test_edge_of_chaos_without_biases() -> None:
    assert critical_weight_variance("relu", 0.0) == pytest.approx(2)
    assert critical_weight_variance("tanh", 0.0) == pytest.approx(1)
    assert critical_weight_variance("gelu", 0.0) == pytest.approx(4)
    assert critical_weight_variance("leaky_relu", 0.0, 0.5) == pytest.approx(2 / 1.25)
    with pytest.raises(ConfigError, match="relu must have a fixed point with chi_1 = 1"):
        EdgeOfChaos("relu", 0.1)


def test_edge_of_chaos_prescribes_its_bias() -> None:
    assert EdgeOfChaos("tanh", 0.09).bias() == Normal(std=0.3)
    assert EdgeOfChaos("relu", 0.0).bias() == Constant(0.0)
    assert get_initializer("he_normal").bias() is None


def test_edge_of_chaos_keeps_two_inputs_apart_in_a_deep_network() -> None:
    # Over seeds 0 to 2, the cosine distance after 24 layers is .29 to .37 at the edge; in the
    # ordered phase, which forgets exponentially, .002 to .004.
    def distance_after_24_layers(weights: object) -> float:
        generator = torch.Generator().manual_seed(0)
        pair = torch.randn(2, 400, generator=generator)
        for _ in range(24):
            weight = get_initializer(weights).fill_(torch.empty(400, 400), generator=generator)
            bias = EdgeOfChaos("tanh", 0.05).bias().fill_(torch.empty(400), generator=generator)
            pair = torch.tanh(pair @ weight.t() + bias)
        return 1 - float(F.cosine_similarity(pair[0], pair[1], dim=0))

    assert distance_after_24_layers({"name": "edge_of_chaos", "bias_variance": 0.05}) > 0.1
    assert distance_after_24_layers({"name": "variance_scaling", "factor": 1.0}) < 0.02
