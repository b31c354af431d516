"""Random specs on random tensors: a valid tensor, or an error of one line that changes nothing."""

import math
from collections.abc import Callable
from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from initsearch.errors import InitSearchError
from initsearch.initializers import get_initializer, registry
from initsearch.initializers.scaling import DIALECTS, DISTRIBUTIONS, MODES

NAMES = sorted(name for name, entry in registry.entries() if entry.builtin)
SIZES = st.sampled_from([0, 1, 2, 3, 7, 16])
SHAPES = st.lists(SIZES, max_size=5).map(tuple)
DTYPES = st.sampled_from(
    [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64]
)
NUMBERS = st.one_of(
    st.floats(),
    st.floats(0, 10),
    st.integers(-3, 10**12),
    st.sampled_from([1e-300, 1e300, 1e38, -2.0, "0.1", None, True]),
)
ACTIVATIONS = st.sampled_from(["relu", "tanh", "gelu", "rleu", "leaky_relu"])
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "value": NUMBERS,
        "std": NUMBERS,
        "mean": NUMBERS,
        "limit": NUMBERS,
        "low": NUMBERS,
        "high": NUMBERS,
        "factor": NUMBERS,
        "gain": st.one_of(NUMBERS, st.sampled_from(["chi", "torch", "second_moment"])),
        "omega": NUMBERS,
        "sparsity": NUMBERS,
        "groups": NUMBERS,
        "bias_variance": st.sampled_from([0.0, 0.05, 1.0, -1.0]),
        "param": st.sampled_from([None, 0.2, -1.0]),
        "mode": st.sampled_from([*MODES, "FAN_AVG", "fan"]),
        "distribution": st.sampled_from([*DISTRIBUTIONS, "gauss"]),
        "dialect": st.sampled_from([*DIALECTS, "jax"]),
        "bounds": st.sampled_from(["sigma", "absolute", "both"]),
        "corrected": st.booleans(),
        "scaled": st.booleans(),
        "first": st.booleans(),
        "activation": ACTIVATIONS,
    },
)
FANS = st.one_of(st.none(), st.floats(), st.floats(1, 1e9), st.sampled_from([0, 1e300, 2**62]))


def refusal(call: Callable[[], object]) -> str | None:
    """The message of an initsearch error, or None; any other exception is raised."""
    try:
        call()
    except InitSearchError as error:
        return str(error)
    return None


def known_fields(name: str, fields: dict[str, Any]) -> dict[str, Any]:
    """Those of the random fields that the scheme has; unknown fields have their own test."""
    own = get_initializer(name).__dataclass_fields__
    return {key: value for key, value in fields.items() if key in own}


@settings(max_examples=400, deadline=None, derandomize=True)
@given(st.sampled_from(NAMES), FIELDS, SHAPES, DTYPES, FANS, FANS)
def test_a_valid_tensor_or_one_line(
    name: str,
    fields: dict[str, Any],
    shape: tuple[int, ...],
    dtype: torch.dtype,
    fan_in: float | None,
    fan_out: float | None,
) -> None:
    tensor = torch.full(shape, 7, dtype=dtype)
    spec = {"name": name, **known_fields(name, fields)}
    generator = torch.Generator().manual_seed(0)
    message = refusal(lambda: get_initializer(spec).fill_(tensor, fan_in, fan_out, generator))
    if message is not None:
        assert "\n" not in message
        assert len(message) < 600
        assert bool((tensor == 7).all())
        return
    assert tensor.shape == shape
    assert tensor.dtype == dtype
    assert bool(torch.isfinite(tensor).all())
    initializer = get_initializer(spec)
    assert get_initializer(initializer.spec()) == initializer
    moments = initializer.moments(3.0, 5.0)
    assert moments is None or all(math.isfinite(moment) for moment in moments)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    st.fixed_dictionaries(
        {
            "std": st.floats(1e-3, 10),
            "mean": st.floats(-5, 5),
            "low": st.floats(-8, 7),
            "bounds": st.sampled_from(["sigma", "absolute"]),
            "corrected": st.booleans(),
        }
    ),
    st.floats(0.01, 6),
)
def test_truncation_keeps_its_bounds_and_moments(fields: dict[str, Any], width: float) -> None:
    fields["high"] = fields["low"] + width
    spec = {"name": "truncated_normal", **fields}
    tensor = torch.empty(20_000, dtype=torch.float64)
    generator = torch.Generator().manual_seed(1)
    message = refusal(lambda: get_initializer(spec).fill_(tensor, generator=generator))
    if message is not None:
        assert "must hold some of the normal's mass" in message
        return
    initializer = get_initializer(spec)
    mean, std = initializer.moments(1, 1) or (math.nan, math.nan)
    assert abs(float(tensor.mean()) - mean) < 6 * std / math.sqrt(20_000)
    assert abs(float(tensor.std()) / std - 1) < 0.1
    if fields["corrected"]:
        assert abs(std / fields["std"] - 1) < 1e-5
    if fields["bounds"] == "absolute":
        assert float(tensor.min()) >= fields["low"] - 1e-9
        assert float(tensor.max()) <= fields["high"] + 1e-9


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.sampled_from(["torch", "keras"]),
    st.lists(st.integers(1, 6), min_size=2, max_size=4).map(tuple),
    st.floats(0.1, 3),
    st.booleans(),
)
def test_orthogonal_has_orthonormal_rows_or_columns(
    dialect: str, shape: tuple[int, ...], gain: float, scaled: bool
) -> None:
    spec = {"name": "orthogonal", "dialect": dialect, "gain": gain, "scaled": scaled}
    tensor = torch.empty(shape, dtype=torch.float64)
    get_initializer(spec).fill_(tensor, generator=torch.Generator().manual_seed(0))
    matrix = tensor.reshape(shape[0], -1)
    rows, rest = matrix.shape
    scale = gain * (max(math.sqrt(rows / rest), 1) if scaled else 1)
    product = matrix @ matrix.t() if rows <= rest else matrix.t() @ matrix
    torch.testing.assert_close(product, scale**2 * torch.eye(len(product), dtype=torch.float64))
