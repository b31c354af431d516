"""Agreement with other frameworks' own initializers, and with closed forms.

Tensors of 4 million entries determine standard deviation, limits and truncation to 0.5%. That is ten standard
errors of a normal's deviation: a correct formula does not fail by chance, and a missing correction for
truncation (12%) or a wrong factor (sqrt(2) and more) is detected. Distributions are compared by
Kolmogorov-Smirnov tests, which a correct one fails with probability 1e-6; seeds are fixed.
"""

import math
import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

os.environ.setdefault("KERAS_BACKEND", "torch")
import jax
import keras
from jax.nn import initializers as jax_initializers
from timm.layers import trunc_normal_tf_

from initsearch.initializers import get_initializer

OUT, IN = 1000, 4000  # fans that differ, 4 million entries
SAMPLE = slice(None, None, 40)
FALSE_ALARM = 1e-6

Spec = str | Mapping[str, Any]


def ours(spec: Spec, shape: tuple[int, ...] = (OUT, IN), seed: int = 0) -> np.ndarray:
    tensor = torch.empty(shape)
    get_initializer(spec).fill_(tensor, generator=torch.Generator().manual_seed(seed))
    return tensor.flatten().numpy()


def agree(drawn: np.ndarray, other: np.ndarray, bounded: bool) -> None:
    assert drawn.std() == pytest.approx(other.std(), rel=0.005)
    assert abs(drawn.mean() - other.mean()) < 6 * other.std() * math.sqrt(2 / drawn.size)
    if bounded:
        # Not the maximum: Keras's torch backend lets 4e-6 of a truncated normal through (it takes
        # the first of four draws that falls within the bounds, or the first if none does).
        edge = np.quantile(np.abs(drawn), 0.9999)
        assert edge == pytest.approx(np.quantile(np.abs(other), 0.9999), rel=0.005)
        assert np.abs(drawn).max() == pytest.approx(edge, rel=0.005)
    assert stats.ks_2samp(drawn[SAMPLE], other[SAMPLE]).pvalue > FALSE_ALARM


def scaling(factor: float, mode: str, distribution: str, dialect: str) -> dict[str, Any]:
    return {
        "name": "variance_scaling",
        "factor": factor,
        "mode": mode,
        "distribution": distribution,
        "dialect": dialect,
    }


KERAS: list[tuple[Spec, keras.initializers.Initializer]] = [
    ("keras_glorot_normal", keras.initializers.GlorotNormal(seed=1)),
    ("keras_glorot_uniform", keras.initializers.GlorotUniform(seed=1)),
    ("keras_he_normal", keras.initializers.HeNormal(seed=1)),
    ("keras_he_uniform", keras.initializers.HeUniform(seed=1)),
    ("keras_lecun_normal", keras.initializers.LecunNormal(seed=1)),
    ("keras_lecun_uniform", keras.initializers.LecunUniform(seed=1)),
    ("keras_variance_scaling", keras.initializers.VarianceScaling(seed=1)),
    (
        scaling(0.7, "fan_out", "normal", "keras"),
        keras.initializers.VarianceScaling(0.7, "fan_out", "truncated_normal", seed=1),
    ),
    (
        scaling(0.7, "fan_avg", "untruncated_normal", "keras"),
        keras.initializers.VarianceScaling(0.7, "fan_avg", "untruncated_normal", seed=1),
    ),
    (
        {"name": "truncated_normal", "std": 0.05},
        keras.initializers.TruncatedNormal(stddev=0.05, seed=1),
    ),
    ({"name": "normal", "std": 0.05}, keras.initializers.RandomNormal(stddev=0.05, seed=1)),
    ("uniform", keras.initializers.RandomUniform(seed=1)),
]


@pytest.mark.parametrize(("spec", "oracle"), KERAS, ids=[str(spec)[:60] for spec, _ in KERAS])
def test_keras_draws_the_same_distribution(
    spec: Spec, oracle: keras.initializers.Initializer
) -> None:
    theirs = oracle(shape=(IN, OUT)).numpy().ravel()
    bounded = "untruncated" not in str(spec) and "'normal', 'std'" not in str(spec)
    agree(ours(spec), theirs, bounded)


def test_keras_counts_the_fans_of_convolutions_and_vectors_alike() -> None:
    # Keras's kernel is (*kernel, in, out); its rank-1 fans are both the length.
    oracle = keras.initializers.HeNormal(seed=1)
    agree(ours("keras_he_normal", (64, 128, 5, 5)), oracle((5, 5, 128, 64)).numpy().ravel(), True)
    agree(ours("keras_he_normal", (400_000,)), oracle((400_000,)).numpy().ravel(), True)


JAX: list[tuple[Spec, Any]] = [
    ("glorot_normal", jax_initializers.variance_scaling(1.0, "fan_avg", "normal")),
    ("keras_glorot_normal", jax_initializers.glorot_normal()),
    ("glorot_uniform", jax_initializers.glorot_uniform()),
    ("keras_he_normal", jax_initializers.he_normal()),
    ("he_uniform", jax_initializers.he_uniform()),
    ("keras_lecun_normal", jax_initializers.lecun_normal()),
    ("lecun_uniform", jax_initializers.lecun_uniform()),
    (
        scaling(0.3, "FAN_OUT", "truncated_normal", "torch"),
        jax_initializers.variance_scaling(0.3, "fan_out", "truncated_normal"),
    ),
    (
        scaling(0.3, "fan_geo_avg", "normal", "torch"),
        jax_initializers.variance_scaling(0.3, "fan_geo_avg", "normal"),
    ),
    ({"name": "truncated_normal", "std": 0.01}, jax_initializers.truncated_normal()),
    ({"name": "uniform", "low": 0, "limit": 0.01}, jax_initializers.uniform()),
]


@pytest.mark.parametrize(("spec", "oracle"), JAX, ids=[str(spec)[:60] for spec, _ in JAX])
def test_jax_draws_the_same_distribution(spec: Spec, oracle: Any) -> None:
    theirs = np.asarray(oracle(jax.random.key(1), (IN, OUT))).ravel()
    untruncated = spec == "glorot_normal" or "geo" in str(spec)
    agree(ours(spec), theirs, not untruncated)


CLOSED_FORMS: list[tuple[Spec, Any]] = [
    # TF1: truncated at two sigmas with sigma = sqrt(1.3 factor / n), or uniform sqrt(3 factor / n).
    (
        scaling(factor, mode, distribution, "tf1"),
        stats.truncnorm(-2, 2, 0, math.sqrt(1.3 * factor / n))
        if distribution == "normal"
        else stats.uniform(-math.sqrt(3 * factor / n), 2 * math.sqrt(3 * factor / n)),
    )
    for factor in (1.0, 2.0)
    for mode, n in (("FAN_IN", IN), ("FAN_OUT", OUT), ("FAN_AVG", (IN + OUT) / 2))
    for distribution in ("normal", "uniform")
]
CLOSED_FORMS += [
    ("tf1_msra", stats.truncnorm(-2, 2, 0, math.sqrt(2.6 / IN))),
    ("tf1_caffe", stats.uniform(-math.sqrt(3 / IN), 2 * math.sqrt(3 / IN))),
    ("caffe", stats.uniform(-math.sqrt(3 / IN), 2 * math.sqrt(3 / IN))),
    (
        "xavier_initializer",
        stats.uniform(-math.sqrt(6 / (IN + OUT)), 2 * math.sqrt(6 / (IN + OUT))),
    ),
    ("tf1_xavier_normal", stats.truncnorm(-2, 2, 0, math.sqrt(1.3 * 2 / (IN + OUT)))),
    ("numpy_xavier", stats.norm(0, math.sqrt(1 / IN))),
    ("numpy_glorot", stats.norm(0, math.sqrt(2 / (IN + OUT)))),
    ("torch_default", stats.uniform(-math.sqrt(1 / IN), 2 * math.sqrt(1 / IN))),
    ("lecun_normal", stats.norm(0, math.sqrt(1 / IN))),
    ("siren", stats.uniform(-math.sqrt(6 / IN) / 30, 2 * math.sqrt(6 / IN) / 30)),
    ({"name": "siren", "first": True, "omega": 7}, stats.uniform(-1 / IN, 2 / IN)),
    (
        {"name": "activation_scaling", "activation": "gelu"},
        stats.norm(0, 1.5335 / math.sqrt(IN)),
    ),
]


@pytest.mark.parametrize(
    ("spec", "law"), CLOSED_FORMS, ids=[str(spec)[:80] for spec, _ in CLOSED_FORMS]
)
def test_closed_forms_hold(spec: Spec, law: Any) -> None:
    drawn = ours(spec)
    assert drawn.std() == pytest.approx(law.std(), rel=0.005)
    assert abs(drawn.mean()) < 0.005 * law.std()
    low, high = law.support()
    if math.isfinite(high):
        assert drawn.max() == pytest.approx(high, rel=0.005)
        assert drawn.min() == pytest.approx(low, rel=0.005)
    else:
        assert np.abs(drawn).max() > 4.5 * law.std(), "not truncated"
    assert stats.kstest(drawn[SAMPLE].astype(np.float64), law.cdf).pvalue > FALSE_ALARM


Fill = Callable[[Tensor, torch.Generator], object]

TORCH: list[tuple[Spec, tuple[int, ...], Fill]] = [
    ("glorot_normal", (30, 20, 3, 3), lambda t, g: nn.init.xavier_normal_(t, generator=g)),
    ("glorot_uniform", (30, 20, 3, 3), lambda t, g: nn.init.xavier_uniform_(t, generator=g)),
    (
        "he_normal",
        (30, 20, 3, 3),
        lambda t, g: nn.init.kaiming_normal_(t, nonlinearity="relu", generator=g),
    ),
    (
        {"name": "he_uniform", "mode": "fan_out"},
        (30, 20, 3, 3),
        lambda t, g: nn.init.kaiming_uniform_(t, 0, "fan_out", "relu", generator=g),
    ),
    (
        {"name": "activation_scaling", "activation": "tanh", "gain": "torch"},
        (30, 20),
        lambda t, g: nn.init.kaiming_normal_(t, nonlinearity="tanh", generator=g),
    ),
    (
        {
            "name": "activation_scaling",
            "activation": "leaky_relu",
            "param": 0.3,
            "distribution": "uniform",
        },
        (30, 20),
        lambda t, g: nn.init.kaiming_uniform_(t, 0.3, generator=g),
    ),
    (
        "torch_default",
        (30, 20),
        lambda t, g: nn.init.kaiming_uniform_(t, math.sqrt(5), generator=g),
    ),
    ("normal", (30, 20), lambda t, g: nn.init.normal_(t, generator=g)),
    (
        {"name": "normal", "std": 0.2, "mean": 3},
        (30,),
        lambda t, g: nn.init.normal_(t, 3.0, 0.2, generator=g),
    ),
    (
        {"name": "uniform", "low": 0, "limit": 1},
        (30,),
        lambda t, g: nn.init.uniform_(t, generator=g),
    ),
    ("orthogonal", (30, 20), lambda t, g: nn.init.orthogonal_(t, generator=g)),
    (
        {"name": "orthogonal", "gain": 1.7},
        (20, 30, 3, 3),
        lambda t, g: nn.init.orthogonal_(t, 1.7, generator=g),
    ),
    ("identity", (30, 20), lambda t, g: nn.init.eye_(t)),
    ("identity", (20, 30), lambda t, g: nn.init.eye_(t)),
    ("dirac", (8, 6, 3), lambda t, g: nn.init.dirac_(t)),
    ("dirac", (6, 8, 4, 3), lambda t, g: nn.init.dirac_(t)),
    ({"name": "dirac", "groups": 3}, (9, 2, 3, 2, 5), lambda t, g: nn.init.dirac_(t, 3)),
    ({"name": "dirac", "groups": 2}, (4, 5, 1, 2), lambda t, g: nn.init.dirac_(t, 2)),
    ({"name": "constant", "value": -2}, (3, 4), lambda t, g: nn.init.constant_(t, -2)),
    ("zeros", (3, 4), lambda t, g: nn.init.zeros_(t)),
    ("ones", (3, 4), lambda t, g: nn.init.ones_(t)),
]


@pytest.mark.parametrize(
    ("spec", "shape", "fill"), TORCH, ids=[f"{spec} {shape}"[:70] for spec, shape, _ in TORCH]
)
def test_torch_draws_the_same_values(spec: Spec, shape: tuple[int, ...], fill: Fill) -> None:
    theirs = torch.empty(shape)
    fill(theirs, torch.Generator().manual_seed(5))
    drawn = torch.from_numpy(ours(spec, shape, seed=5)).reshape(shape)
    torch.testing.assert_close(drawn, theirs, rtol=1e-6, atol=1e-7)


def test_linear_s_own_reset_is_torch_default() -> None:
    layer = nn.Linear(20, 30)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        layer.reset_parameters()
    drawn = torch.from_numpy(ours("torch_default", (30, 20), seed=5)).reshape(30, 20)
    torch.testing.assert_close(drawn, layer.weight.detach())


def test_torch_s_sparse_has_the_same_distribution() -> None:
    theirs = torch.empty(301, 200)
    nn.init.sparse_(theirs, 0.3, std=0.02, generator=torch.Generator().manual_seed(1))
    drawn = torch.from_numpy(ours({"name": "sparse", "sparsity": 0.3, "std": 0.02}, (301, 200)))
    drawn = drawn.reshape(301, 200)
    for tensor in (drawn, theirs):
        assert torch.equal((tensor == 0).sum(0), torch.full((200,), math.ceil(0.3 * 301)))
    kept = drawn[drawn != 0].numpy(), theirs[theirs != 0].numpy()
    assert stats.ks_2samp(*kept).pvalue > FALSE_ALARM
    # Zeros fall on every row alike: counts over rows are near binomial.
    rows = (drawn == 0).sum(1).double()
    assert float(rows.std()) < 1.3 * math.sqrt(200 * 0.3 * 0.7)
    assert float(rows.std()) > 0.7 * math.sqrt(200 * 0.3 * 0.7)


TRUNCATIONS: list[tuple[dict[str, Any], Any]] = [
    ({}, stats.truncnorm(-2, 2)),
    ({"std": 0.3, "mean": 5}, stats.truncnorm(-2, 2, 5, 0.3)),
    ({"low": -1, "high": 3}, stats.truncnorm(-1, 3)),
    ({"low": -0.1, "high": 0.05}, stats.truncnorm(-0.1, 0.05)),
    ({"low": 3, "high": 4}, stats.truncnorm(3, 4)),
    ({"low": 9, "high": 10}, stats.truncnorm(9, 10)),
    ({"low": -30, "high": -25, "std": 2.0}, stats.truncnorm(-30, -25, 0, 2)),
    ({"std": 0.02, "bounds": "absolute"}, stats.norm(0, 0.02)),
    ({"std": 1.5, "bounds": "absolute"}, stats.truncnorm(-2 / 1.5, 2 / 1.5, 0, 1.5)),
    (
        {"std": 1.5, "mean": 3, "low": -1, "high": 0.5, "bounds": "absolute"},
        stats.truncnorm(-4 / 1.5, -2.5 / 1.5, 3, 1.5),
    ),
]


@pytest.mark.parametrize(("fields", "law"), TRUNCATIONS, ids=lambda value: str(value)[:60])
def test_truncated_normals_are_scipy_s(fields: dict[str, Any], law: Any) -> None:
    spec = {"name": "truncated_normal", **fields}
    drawn = ours(spec, (100_000,)).astype(np.float64)
    assert stats.kstest(drawn, law.cdf).pvalue > FALSE_ALARM
    low, high = law.support()
    assert drawn.min() >= low - 1e-6 * abs(low)
    assert drawn.max() <= high + 1e-6 * abs(high)
    moments = get_initializer(spec).moments(1, 1)
    assert moments == (
        pytest.approx(float(law.mean()), rel=1e-6, abs=1e-9),
        pytest.approx(float(law.std()), rel=1e-5),
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"std": 0.3},
        {"std": 0.3, "low": -1, "high": 3},
        {"std": 0.02, "bounds": "absolute"},
        {"std": 1.1, "bounds": "absolute"},
        {"std": 0.3, "mean": 2.5, "low": -1, "high": 1, "bounds": "absolute"},
    ],
)
def test_corrected_truncation_leaves_the_deviation_asked_for(fields: dict[str, Any]) -> None:
    spec = {"name": "truncated_normal", "corrected": True, **fields}
    drawn = ours(spec, (400_000,))
    assert drawn.std() == pytest.approx(fields["std"], rel=0.005)
    moments = get_initializer(spec).moments(1, 1)
    assert moments is not None
    assert moments[1] == pytest.approx(fields["std"], rel=1e-6)
    assert drawn.mean() == pytest.approx(moments[0], abs=0.01 * fields["std"])
    if fields.get("bounds") == "absolute":
        assert np.abs(drawn).max() <= max(fields.get("high", 2), -fields.get("low", -2))


def test_torch_s_and_timm_s_truncations_are_matched() -> None:
    generator = torch.Generator().manual_seed(3)
    theirs = nn.init.trunc_normal_(torch.empty(200_000), std=1.2, generator=generator)
    drawn = ours({"name": "truncated_normal", "std": 1.2, "bounds": "absolute"}, (200_000,))
    assert stats.ks_2samp(drawn, theirs.numpy()).pvalue > FALSE_ALARM
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        theirs = trunc_normal_tf_(torch.empty(200_000), std=0.02)
    drawn = ours({"name": "truncated_normal", "std": 0.02}, (200_000,))
    assert stats.ks_2samp(drawn, theirs.numpy()).pvalue > FALSE_ALARM
    assert drawn.std() == pytest.approx(0.02 * 0.8796, rel=0.01)


def test_orthogonal_in_keras_s_flattening() -> None:
    # Keras's own algorithm in NumPy, from the same Gaussian numbers.
    kernel, n_in, n_out = (3, 2), 4, 5
    rest = math.prod(kernel) * n_in
    gaussian = torch.empty(rest, n_out).normal_(generator=torch.Generator().manual_seed(9))
    q, r = np.linalg.qr(gaussian.numpy())
    theirs = (q * np.sign(np.diag(r))).reshape(*kernel, n_in, n_out)
    spec = {"name": "orthogonal", "dialect": "keras"}
    drawn = ours(spec, (n_out, n_in, *kernel), seed=9).reshape(n_out, n_in, *kernel)
    np.testing.assert_allclose(drawn, np.transpose(theirs, (3, 2, 0, 1)), atol=2e-6)
    keras_own = keras.initializers.Orthogonal(seed=1)((*kernel, n_in, n_out)).numpy()
    flat = keras_own.reshape(rest, n_out)
    np.testing.assert_allclose(flat.T @ flat, np.eye(n_out), atol=2e-6)
    ours_flat = np.transpose(drawn, (2, 3, 1, 0)).reshape(rest, n_out)
    np.testing.assert_allclose(ours_flat.T @ ours_flat, np.eye(n_out), atol=2e-6)


@pytest.mark.parametrize("dialect", ["torch", "keras"])
def test_orthogonal_matrices_are_haar_distributed(dialect: str) -> None:
    # Without the sign correction the diagonal of QR's Q has a negative mean, not zero.
    spec = {"name": "orthogonal", "dialect": dialect}
    generator = torch.Generator().manual_seed(0)
    n, draws = 4, 2000
    matrices = torch.stack(
        [get_initializer(spec).fill_(torch.empty(n, n), generator=generator) for _ in range(draws)]
    )
    error = math.sqrt(1 / n / draws)
    assert float(matrices.mean(0).abs().max()) < 5 * error
    assert float((matrices**2).mean(0).sub(1 / n).abs().max()) < 6 * error
    assert float((matrices**4).mean()) == pytest.approx(3 / (n * (n + 2)), rel=0.02)


def test_scaled_orthogonal_keeps_the_output_s_variance_in_an_expansion() -> None:
    inputs = torch.randn(4000, 50, generator=torch.Generator().manual_seed(0))
    for scaled, variance in ((False, 0.25), (True, 1.0)):
        weight = torch.from_numpy(ours({"name": "orthogonal", "scaled": scaled}, (200, 50)))
        outputs = inputs @ weight.reshape(200, 50).t()
        assert float(outputs.var()) == pytest.approx(variance, rel=0.03)
    narrow = ours({"name": "orthogonal", "scaled": True}, (50, 200))
    np.testing.assert_array_equal(narrow, ours("orthogonal", (50, 200)))


@pytest.mark.parametrize("kernel", [(3,), (3, 3), (1, 3, 5), (2, 4)])
def test_delta_orthogonal_has_jax_s_support_and_keeps_norms(kernel: tuple[int, ...]) -> None:
    weight = torch.from_numpy(ours({"name": "delta_orthogonal", "gain": 1.5}, (8, 5, *kernel)))
    weight = weight.reshape(8, 5, *kernel)
    theirs = np.asarray(jax_initializers.delta_orthogonal()(jax.random.key(0), (*kernel, 5, 8)))
    support = torch.from_numpy(np.abs(theirs).sum(axis=(-1, -2)) > 0)
    assert torch.equal(weight.abs().sum(dim=(0, 1)) > 0, support)
    inputs = torch.randn(2, 5, *[6] * len(kernel), generator=torch.Generator().manual_seed(0))
    convolve = [nn.functional.conv1d, nn.functional.conv2d, nn.functional.conv3d][len(kernel) - 1]
    widths = [size // 2 for size in reversed(kernel) for _ in range(2)]
    outputs = convolve(nn.functional.pad(inputs, widths, mode="circular"), weight)
    cropped = outputs[(..., *[slice(0, 6)] * len(kernel))]
    torch.testing.assert_close(cropped.norm(), 1.5 * inputs.norm())
