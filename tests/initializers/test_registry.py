"""Specs, errors, labels, and the catalogue for the README."""

import re
from typing import Any

import pytest
import torch

import initsearch
from initsearch.errors import ConfigError
from initsearch.initializers import (
    Constant,
    Normal,
    TruncatedNormal,
    VarianceScaling,
    catalogue_table,
    compute_fans,
    get_initializer,
    list_initializers,
    registry,
)

BAD_SPECS: list[tuple[Any, str]] = [
    ("he_norml", "unknown initializer 'he_norml': did you mean he_normal"),
    ("zzz", "unknown initializer 'zzz': choose one of: activation_scaling, caffe"),
    ({"factor": 2.0}, "a mapping must have a 'name'"),
    ({"name": 3}, "a mapping must have a 'name'"),
    (None, "must be a name, a mapping, a function or an Initializer, but got None"),
    (3, "must be a name, a mapping, a function or an Initializer, but got 3"),
    (int, "must be a name, a mapping, a function or an Initializer, but got <class 'int'>"),
    ({"name": "normal", "sdt": 1}, "unknown field of normal 'sdt': did you mean std"),
    ({"name": "zeros", "vlaue": 1}, "unknown field of constant 'vlaue': did you mean value"),
    ({"name": "torch_default", "gain": 1}, "torch_default takes no settings, but got 'gain'"),
    ({"name": "normal", "std": -1}, "normal: std must be >= 0, but got -1"),
    (
        {"name": "normal", "std": "1e-2"},
        "std must be a number, but got '1e-2': in YAML write 1.0e-2",
    ),
    ({"name": "normal", "std": True}, "std must be a number, but got True"),
    ({"name": "normal", "std": None}, "std must be a number, but got None"),
    ({"name": "normal", "mean": float("nan")}, "mean must be finite, but got nan"),
    ({"name": "normal", "std": 10**400}, "std must be >= 0, but got 1000"),
    ({"name": "constant", "value": float("inf")}, "value must be finite, but got inf"),
    ({"name": "uniform", "limit": -0.1}, "uniform: limit must be >= 0, but got -0.1"),
    ({"name": "uniform", "low": 1, "limit": 0}, "low must be <= limit, but got 1 > 0"),
    ({"name": "variance_scaling", "factor": 0}, "factor must be > 0, but got 0"),
    ({"name": "he_normal", "factor": -2}, "factor must be > 0, but got -2"),
    ({"name": "variance_scaling", "mode": "fan_inn"}, "unknown mode .* did you mean fan_in"),
    ({"name": "variance_scaling", "mode": 1}, "unknown mode of variance_scaling 1"),
    ({"name": "variance_scaling", "distribution": "gauss"}, "unknown distribution"),
    ({"name": "variance_scaling", "dialect": "tf"}, "unknown dialect .* did you mean tf1"),
    (
        {"name": "tf1_msra", "distribution": "untruncated_normal"},
        r"tf1 has the distributions normal \(truncated\) and uniform",
    ),
    ({"name": "tf1_msra", "uniform": 1}, "uniform must be true or false"),
    ({"name": "he_normal", "scale": 1, "factor": 1}, "got both: remove scale"),
    ({"name": "he_normal", "scale": -1}, "factor must be > 0, but got -1"),
    (
        {"name": "variance_scaling", "uniform": True, "distribution": "normal"},
        "stand instead of a distribution",
    ),
    ({"name": "truncated_normal", "low": 1, "high": 1}, "high must be > low"),
    ({"name": "truncated_normal", "bounds": "sgima"}, "did you mean sigma"),
    ({"name": "truncated_normal", "corrected": "yes"}, "corrected must be true or false"),
    ({"name": "truncated_normal", "low": 50, "high": 51}, "must hold some of the normal's mass"),
    (
        {"name": "truncated_normal", "bounds": "absolute", "std": 1.2, "corrected": True},
        "leave room for the std",
    ),
    (
        {"name": "truncated_normal", "bounds": "absolute", "std": 0, "mean": 3},
        "the mean must lie within the bounds",
    ),
    ({"name": "orthogonal", "gain": 0}, "gain must be > 0"),
    ({"name": "orthogonal", "dialect": "jax"}, "unknown dialect of orthogonal 'jax'"),
    ({"name": "orthogonal", "scaled": 1}, "scaled must be true or false"),
    ({"name": "delta_orthogonal", "gain": -1}, "gain must be > 0"),
    ({"name": "dirac", "groups": 0}, "groups must be an integer >= 1, but got 0"),
    ({"name": "dirac", "groups": 1.5}, "groups must be an integer >= 1, but got 1.5"),
    ({"name": "sparse", "sparsity": 1}, "sparsity must be >= 0 and < 1, but got 1"),
    ({"name": "siren", "omega": 0}, "omega must be > 0"),
    ({"name": "activation_scaling", "activation": "rleu"}, "did you mean relu"),
    ({"name": "activation_scaling", "activation": torch.tanh}, "must be a name or a dotted path"),
    ({"name": "activation_scaling", "gain": "torsh"}, "did you mean torch"),
    ({"name": "activation_scaling", "activation": "gelu", "gain": "torch"}, "torch's table has"),
    ({"name": "edge_of_chaos", "bias_variance": -0.1}, "bias_variance must be >= 0"),
    ({"name": "edge_of_chaos", "activation": "relu"}, "must have a fixed point with chi_1 = 1"),
]


@pytest.mark.parametrize(
    ("spec", "message"),
    BAD_SPECS,
    ids=[f"{i}-{text[:40]}" for i, (_, text) in enumerate(BAD_SPECS)],
)
def test_bad_specs_get_one_line(spec: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        get_initializer(spec)
    assert "\n" not in str(caught.value)


BAD_FILLS: list[tuple[Any, torch.Tensor, dict[str, float], str]] = [
    ("he_normal", torch.empty(3, 3), {"fan_in": 0}, "fan_in must be > 0 and finite, but got 0"),
    (
        "he_normal",
        torch.empty(3, 3),
        {"fan_in": float("inf")},
        "must be > 0 and finite, but got inf",
    ),
    ("glorot_normal", torch.empty(3, 3), {"fan_out": -1}, "fan_out must be > 0"),
    ("torch_default", torch.empty(3), {"fan_in": float("nan")}, "fan_in must be > 0"),
    ("siren", torch.empty(3), {"fan_in": 0}, "siren: fan_in must be > 0"),
    ("orthogonal", torch.empty(3), {}, r"at least 2 dimensions, but got shape \(3,\)"),
    ("sparse", torch.empty(3), {}, r"at least 2 dimensions, but got shape \(3,\)"),
    ("identity", torch.empty(3, 3, 3), {}, "must be 2-D, .*use dirac"),
    ("dirac", torch.empty(3, 3), {}, "must be 3-D, 4-D or 5-D"),
    ({"name": "dirac", "groups": 2}, torch.empty(3, 3, 3), {}, "groups must divide the 3 output"),
    ("delta_orthogonal", torch.empty(3, 3), {}, "must be 3-D, 4-D or 5-D"),
    ("delta_orthogonal", torch.empty(3, 4, 3), {}, "must be <= output channels, but got 4 > 3"),
    ({"name": "normal", "std": 1e38}, torch.empty(3), {}, "values must fit in torch.float32"),
    ({"name": "uniform", "limit": 3e38}, torch.empty(3), {}, "values must fit in torch.float32"),
    ({"name": "constant", "value": 1e39}, torch.empty(3), {}, "must fit in torch.float32"),
    (
        {"name": "constant", "value": 1e6},
        torch.empty(3, dtype=torch.float16),
        {},
        "values must fit in torch.float16",
    ),
    (
        {"name": "normal", "std": 1e5},
        torch.zeros(3, dtype=torch.float16),
        {},
        r"normal\(std=100000\): values must fit in torch.float16",
    ),
]


@pytest.mark.parametrize(
    ("spec", "tensor", "fans", "message"), BAD_FILLS, ids=[text for *_, text in BAD_FILLS]
)
def test_impossible_fills_get_one_line_and_change_nothing(
    spec: Any, tensor: torch.Tensor, fans: dict[str, float], message: str
) -> None:
    tensor.fill_(7)
    with pytest.raises(ConfigError, match=message) as caught:
        get_initializer(spec).fill_(tensor, generator=torch.Generator(), **fans)
    assert "\n" not in str(caught.value)
    assert bool((tensor == 7).all())


def test_the_scale_of_keras_and_jax_is_the_factor() -> None:
    spec = {"name": "variance_scaling", "scale": 0.5, "dialect": "keras"}
    assert get_initializer(spec) == VarianceScaling(0.5, "fan_in", "normal", "keras")
    assert get_initializer({"name": "he_normal", "scale": 1.0}).label() == "lecun_normal"


def test_tf1_s_spellings_are_accepted_and_normalised() -> None:
    expected = VarianceScaling(1.0, "fan_avg", "uniform", "tf1")
    spec = {"name": "tf1_variance_scaling", "factor": 1.0, "mode": "FAN_AVG", "uniform": True}
    assert get_initializer(spec) == expected
    assert get_initializer({"name": "xavier_initializer", "uniform": False}).label() == (
        "tf1_xavier_normal"
    )
    assert get_initializer({"name": "variance_scaling", "mode": "FAN_OUT"}).mode == "fan_out"
    # TF1's defaults: factor 2, FAN_IN, uniform False.
    default = get_initializer("variance_scaling_initializer")
    assert default == VarianceScaling(2.0, "fan_in", "normal", "tf1")


@pytest.mark.parametrize(
    ("spec", "label", "written"),
    [
        ("kaiming_normal", "he_normal", {"name": "he_normal"}),
        ("caffe", "lecun_uniform", {"name": "lecun_uniform"}),
        ({"name": "variance_scaling"}, "he_normal", {"name": "he_normal"}),
        (
            {"name": "he_normal", "factor": 1, "distribution": "uniform"},
            "lecun_uniform",
            {"name": "lecun_uniform"},
        ),
        (
            {"name": "variance_scaling", "factor": 0.5, "mode": "fan_out"},
            "variance_scaling(factor=0.5, mode=fan_out)",
            {"name": "variance_scaling", "factor": 0.5, "mode": "fan_out"},
        ),
        ({"name": "constant", "value": 1}, "ones", {"name": "ones"}),
        ({"name": "normal", "std": 0.01}, "normal(std=0.01)", {"name": "normal", "std": 0.01}),
        ({"name": "siren", "first": True}, "siren_first", {"name": "siren_first"}),
        ("keras_he_uniform", "keras_he_uniform", {"name": "keras_he_uniform"}),
    ],
)
def test_labels_and_specs(spec: Any, label: str, written: dict[str, Any]) -> None:
    initializer = get_initializer(spec)
    assert initializer.label() == label
    assert initializer.spec() == written


def test_numbers_are_kept_as_floats() -> None:
    assert repr(get_initializer({"name": "normal", "std": 2})) == "Normal(std=2.0, mean=0.0)"
    numpy_number = torch.tensor(0.5).numpy()[()]
    assert type(Normal(std=numpy_number).std) is float


def test_an_initializer_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Constant(1.0).value = 2.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("shape", "fans"),
    [
        ((), (1, 1)),
        ((7,), (7, 7)),
        ((5, 3), (3, 5)),
        ((5, 3, 2), (6, 10)),
        ((64, 32, 3, 3), (288, 576)),
        ((4, 0, 3), (0, 12)),
        ((2, 3, 1, 2, 4), (24, 16)),
    ],
)
def test_fans_of_a_bare_tensor(shape: tuple[int, ...], fans: tuple[float, float]) -> None:
    assert compute_fans(shape) == fans
    if len(shape) >= 2:
        assert fans == torch.nn.init._calculate_fan_in_and_fan_out(torch.empty(shape))


def test_the_package_s_face() -> None:
    assert initsearch.get_initializer is get_initializer
    assert initsearch.list_initializers() == sorted(list_initializers())
    tensor = initsearch.get_initializer("he_normal").fill_(torch.empty(3, 4), fan_in=4, fan_out=3)
    assert tensor.shape == (3, 4)


def test_the_catalogue_has_every_name_once() -> None:
    lines = catalogue_table().splitlines()
    assert lines[0] == "| name | draws | tunables and defaults | source |"
    assert all(re.fullmatch(r"\|( .+? \|){4}", line) for line in lines), "four cells a row"
    named = [name for line in lines[2:] for name in re.findall(r"`(\w+)`", line.split(" | ")[0])]
    assert sorted(named) == sorted(name for name, entry in registry.entries() if entry.builtin)


def test_the_catalogue_shows_tunables_and_settings() -> None:
    table = catalogue_table()
    assert "`factor=2`, `mode=fan_in`, `distribution=normal`, `dialect=torch`" in table
    assert (
        "| `variance_scaling(factor=1, mode=fan_avg, distribution=uniform, dialect=torch)`" in table
    )


def test_the_catalogue_leaves_users_initializers_out(monkeypatch: pytest.MonkeyPatch) -> None:
    before = catalogue_table()
    monkeypatch.setattr(registry, "_ENTRIES", dict(registry._ENTRIES))
    initsearch.register("my_own")(lambda tensor: tensor)
    assert "my_own" in list_initializers()
    assert catalogue_table() == before


def test_zero_deviation_is_a_constant() -> None:
    for initializer in (Normal(0.0, 3.0), TruncatedNormal(0.0, 3.0)):
        assert torch.equal(initializer.fill_(torch.empty(4)), torch.full((4,), 3.0))
        assert initializer.moments(1, 1) == (3.0, 0.0)
