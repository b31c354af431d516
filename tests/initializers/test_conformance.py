"""One suite over every entry of the registry, and a test that no entry is left out.

The draws of an entry are compared with `ORACLES`: its distribution, written with scipy independently of the
package, or a property of the whole tensor.

False alarms: seeds are fixed, so the suite gives the same result each time. With another seed, a correct
initializer would fail its Kolmogorov-Smirnov test with probability 1e-6, and its tests of mean and deviation,
at six standard errors, with about 2e-9 each: 1e-4 for the whole table.
"""

import copy
import json
import math
import pickle
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from scipy import stats
from torch import Tensor, nn

from initsearch.errors import ModelError
from initsearch.initializers import (
    Initializer,
    Normal,
    get_initializer,
    list_initializers,
    registry,
)

CONVOLUTION = (64, 32, 3, 3)
DENSE = (300, 100)
FALSE_ALARM = 1e-6

Law = Callable[[float, float], Any]  # (fan_in, fan_out) -> a frozen scipy distribution
Property = Callable[[Tensor], None]


def normal(std: Callable[[float, float], float]) -> Law:
    return lambda fan_in, fan_out: stats.norm(0, std(fan_in, fan_out))


def uniform(limit: Callable[[float, float], float]) -> Law:
    def law(fan_in: float, fan_out: float) -> Any:
        bound = limit(fan_in, fan_out)
        return stats.uniform(-bound, 2 * bound)

    return law


def truncated(sigma: Callable[[float, float], float]) -> Law:
    return lambda fan_in, fan_out: stats.truncnorm(-2, 2, 0, sigma(fan_in, fan_out))


def corrected(std: Callable[[float, float], float]) -> Law:
    shrink = stats.truncnorm.std(-2, 2)
    return truncated(lambda fan_in, fan_out: std(fan_in, fan_out) / shrink)


def glorot_std(fan_in: float, fan_out: float) -> float:
    return math.sqrt(2 / (fan_in + fan_out))


def glorot_limit(fan_in: float, fan_out: float) -> float:
    return math.sqrt(6 / (fan_in + fan_out))


def he_std(fan_in: float, fan_out: float) -> float:
    return math.sqrt(2 / fan_in)


def he_limit(fan_in: float, fan_out: float) -> float:
    return math.sqrt(6 / fan_in)


def lecun_std(fan_in: float, fan_out: float) -> float:
    return math.sqrt(1 / fan_in)


def lecun_limit(fan_in: float, fan_out: float) -> float:
    return math.sqrt(3 / fan_in)


def all_equal(value: float) -> Property:
    def check(tensor: Tensor) -> None:
        assert torch.equal(tensor, torch.full_like(tensor, value))

    return check


def orthonormal(tensor: Tensor) -> None:
    matrix = tensor.reshape(tensor.shape[0], -1)
    if matrix.shape[0] < matrix.shape[1]:
        matrix = matrix.t()
    torch.testing.assert_close(matrix.t() @ matrix, torch.eye(matrix.shape[1]), atol=2e-6, rtol=0)


def orthonormal_centre(tensor: Tensor) -> None:
    assert tensor.ndim == 4
    orthonormal(tensor[:, :, 1, 1])
    assert tensor.count_nonzero() == tensor[:, :, 1, 1].count_nonzero()


def eye(tensor: Tensor) -> None:
    assert torch.equal(tensor, torch.eye(*tensor.shape))


def passes_channels(tensor: Tensor) -> None:
    images = torch.randn(2, tensor.shape[1], 5, 5, generator=torch.Generator().manual_seed(0))
    passed = nn.functional.conv2d(images, tensor, padding=1)
    torch.testing.assert_close(passed[:, : tensor.shape[1]], images)
    assert passed[:, tensor.shape[1] :].count_nonzero() == 0


def sparse_columns(tensor: Tensor) -> None:
    columns = tensor.reshape(tensor.shape[0], -1)
    zeros = (columns == 0).sum(dim=0)
    assert torch.equal(zeros, torch.full_like(zeros, math.ceil(0.9 * tensor.shape[0])))
    kept = columns[columns != 0].double().numpy()
    assert stats.kstest(kept, stats.norm(0, 0.01).cdf).pvalue > FALSE_ALARM


def he_entries(tensor: Tensor) -> None:
    law = stats.norm(0, he_std(tensor[0].numel(), math.nan))
    assert stats.kstest(tensor.double().flatten().numpy(), law.cdf).pvalue > FALSE_ALARM


def log_of_steps(most: float) -> Property:
    def check(tensor: Tensor) -> None:
        steps = tensor.double().exp().flatten().numpy()
        assert stats.kstest(steps, stats.uniform(1, most - 1).cdf).pvalue > FALSE_ALARM

    return check


def steps_of_time(tensor: Tensor) -> None:
    steps = nn.functional.softplus(tensor.double()).flatten().numpy()
    assert stats.kstest(steps, stats.loguniform(0.001, 0.1).cdf).pvalue > FALSE_ALARM


def counted_decays(tensor: Tensor) -> None:
    expected = torch.arange(1.0, tensor.shape[-1] + 1).log().expand(tensor.shape)
    torch.testing.assert_close(tensor, expected)


DENSE_ONLY = {"identity"}
CONVOLUTION_ONLY = {"dirac", "delta_orthogonal"}
NOT_RANDOM = {
    "constant",
    "zeros",
    "ones",
    "identity",
    "dirac",
    "forget_gate",
    "focal_prior",
    "mamba_decay",
}
# It needs labels, and has its tests in tests/plan/test_biases_from_data.py.
WITH_DATA = {"class_prior"}
# Bare shapes do not suit them; tests/plan/test_recipes.py has their tests.
OF_A_SHAPE = {"mimetic", "yolo_head"}

ORACLES: dict[str, Law] = {
    "activation_scaling": normal(he_std),  # its default activation is ReLU
    "caffe": uniform(lecun_limit),
    "depth_scaled": normal(lambda fan_in, fan_out: 0.02),  # outside of a plan: its base
    "edge_of_chaos": normal(lambda fan_in, fan_out: math.sqrt(1.76095 / fan_in)),
    # For a tensor outside of branches.
    "fixup_scaled": normal(lambda fan_in, fan_out: math.sqrt(2 / fan_out)),
    "glorot_normal": normal(glorot_std),
    "glorot_uniform": uniform(glorot_limit),
    "he_normal": normal(he_std),
    "he_uniform": uniform(he_limit),
    "kaiming_normal": normal(he_std),
    "kaiming_uniform": uniform(he_limit),
    "keras_glorot_normal": corrected(glorot_std),
    "keras_glorot_uniform": uniform(glorot_limit),
    "keras_he_normal": corrected(he_std),
    "keras_he_uniform": uniform(he_limit),
    "keras_lecun_normal": corrected(lecun_std),
    "keras_lecun_uniform": uniform(lecun_limit),
    "keras_variance_scaling": corrected(lecun_std),
    "lecun_normal": normal(lecun_std),
    "lecun_uniform": uniform(lecun_limit),
    "msra": normal(he_std),
    "msra_normal": normal(he_std),
    "msra_uniform": uniform(he_limit),
    "normal": normal(lambda fan_in, fan_out: 1.0),
    "numpy_glorot": normal(glorot_std),
    "numpy_xavier": normal(lecun_std),
    "selu_lecun": normal(lecun_std),
    "siren": uniform(lambda fan_in, fan_out: math.sqrt(6 / fan_in) / 30),
    "siren_first": uniform(lambda fan_in, fan_out: 1 / fan_in),
    "spectral": normal(lambda fan_in, fan_out: min(1, math.sqrt(fan_out / fan_in)) / fan_in**0.5),
    "tf1_caffe": uniform(lecun_limit),
    "tf1_msra": truncated(lambda fan_in, fan_out: math.sqrt(1.3 * 2 / fan_in)),
    "tf1_variance_scaling": truncated(lambda fan_in, fan_out: math.sqrt(1.3 * 2 / fan_in)),
    "tf1_xavier_normal": truncated(lambda fan_in, fan_out: math.sqrt(2.6 / (fan_in + fan_out))),
    "tf1_xavier_uniform": uniform(glorot_limit),
    "torch_default": uniform(lambda fan_in, fan_out: 1 / math.sqrt(fan_in)),
    "truncated_normal": truncated(lambda fan_in, fan_out: 1.0),
    "uniform": uniform(lambda fan_in, fan_out: 0.05),
    "variance_scaling": normal(he_std),
    "variance_scaling_initializer": truncated(lambda fan_in, fan_out: math.sqrt(2.6 / fan_in)),
    "xavier_initializer": uniform(glorot_limit),
    "xavier_normal": normal(glorot_std),
    "xavier_uniform": uniform(glorot_limit),
}
PROPERTIES: dict[str, Property] = {
    "chrono": log_of_steps(99),  # t_max is 100
    "constant": all_equal(0.0),
    "delta_orthogonal": orthonormal_centre,
    "dirac": passes_channels,
    "gradinit": he_entries,  # before a plan learns scales: see tests/plan/test_learned_scales.py
    "identity": eye,
    "focal_prior": all_equal(math.log(0.01 / 0.99)),
    "forget_gate": all_equal(1.0),
    "lsuv": orthonormal,  # before a plan scales it on a batch: see tests/plan/test_lsuv.py
    "mamba_decay": counted_decays,
    "mamba_step": steps_of_time,
    "metainit": he_entries,
    "ones": all_equal(1.0),
    "orthogonal": orthonormal,
    "sparse": sparse_columns,
    "zeros": all_equal(0.0),
}
# The needs of some initializers besides a tensor and its fans.
NEEDS = {
    "chrono": {"part"},
    "depth_scaled": {"branch"},
    "fixup_scaled": {"branch"},
    "forget_gate": {"part"},
    "gradinit": {"batch", "loss"},
    "lsuv": {"batch"},
    "metainit": {"loss"},
}
NAMES = sorted(ORACLES | PROPERTIES)
RANDOM = [name for name in NAMES if name not in NOT_RANDOM]


def builtin_names() -> set[str]:
    """The built-in names: other tests may have registered their own."""
    return {name for name, entry in registry.entries() if entry.builtin} - WITH_DATA - OF_A_SHAPE


def without_oracle() -> set[str]:
    return builtin_names() - set(ORACLES) - set(PROPERTIES)


def shapes_of(name: str) -> list[tuple[int, ...]]:
    return [
        shape
        for shape, refused in ((DENSE, CONVOLUTION_ONLY), (CONVOLUTION, DENSE_ONLY))
        if name not in refused
    ]


def filled(name: str, shape: tuple[int, ...], seed: int = 0, **kind: Any) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return get_initializer(name).fill_(torch.empty(shape, **kind), generator=generator)


def test_every_entry_has_an_oracle() -> None:
    assert without_oracle() == set()
    assert set(NAMES) == builtin_names()
    assert set(NAMES) <= set(list_initializers())


def test_a_new_entry_without_an_oracle_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_ENTRIES", dict(registry._ENTRIES))

    registry.preset("newcomer", Normal(std=0.123), "N(0, 0.123²)", "nowhere")
    assert without_oracle() == {"newcomer"}


@pytest.mark.parametrize("name", sorted(ORACLES))
def test_entries_follow_the_declared_distribution(name: str) -> None:
    initializer = get_initializer(name)
    # Two different fans that no tensor of this shape has show that each is used in its place.
    fan_in, fan_out = 37.0, 91.0
    tensor = torch.empty(200, 250)
    initializer.fill_(tensor, fan_in, fan_out, torch.Generator().manual_seed(3))
    law = ORACLES[name](fan_in, fan_out)
    values = tensor.double().flatten().numpy()
    assert stats.kstest(values, law.cdf).pvalue > FALSE_ALARM
    low, high = law.support()
    assert values.min() >= low * (1 + 1e-6)
    assert values.max() <= high * (1 + 1e-6)

    declared = initializer.moments(fan_in, fan_out)
    assert declared is not None
    mean, std = declared
    assert mean == pytest.approx(law.mean(), abs=1e-9)
    assert std == pytest.approx(law.std(), rel=1e-5)
    error = std / math.sqrt(values.size)
    assert abs(values.mean() - mean) < 6 * error
    fourth = float(law.stats("k")) + 3  # the kurtosis gives the standard error of a variance
    assert abs(values.var() / std**2 - 1) < 6 * math.sqrt((fourth - 1) / values.size)


@pytest.mark.parametrize("name", sorted(ORACLES))
def test_fans_default_to_the_tensor_s_own(name: str) -> None:
    for shape in shapes_of(name):
        kernel = math.prod(shape[2:])
        law = ORACLES[name](shape[1] * kernel, shape[0] * kernel)
        values = filled(name, shape, seed=5).double().flatten().numpy()
        assert stats.kstest(values, law.cdf).pvalue > FALSE_ALARM


@pytest.mark.parametrize("name", sorted(PROPERTIES))
def test_whole_tensors_have_the_declared_property(name: str) -> None:
    for shape in shapes_of(name):
        PROPERTIES[name](filled(name, shape))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "dtype",
    [
        torch.float16,
        torch.bfloat16,
        torch.float32,
        torch.float64,
        torch.complex64,
        torch.complex128,
    ],
)
def test_keeps_type_shape_and_identity(name: str, dtype: torch.dtype) -> None:
    for shape in shapes_of(name):
        tensor = torch.full(shape, math.nan, dtype=dtype)
        generator = torch.Generator().manual_seed(0)
        returned = get_initializer(name).fill_(tensor, generator=generator)
        assert returned is tensor
        assert tensor.dtype == dtype
        assert tensor.shape == shape
        assert bool(torch.isfinite(tensor).all())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_narrow_types_are_the_cast_of_float32(name: str, dtype: torch.dtype) -> None:
    for shape in shapes_of(name):
        assert torch.equal(filled(name, shape, dtype=dtype), filled(name, shape).to(dtype))


@pytest.mark.parametrize("name", sorted(ORACLES))
def test_complex_variance_is_split_evenly(name: str) -> None:
    tensor = torch.empty(200, 250, dtype=torch.complex64)
    initializer = get_initializer(name)
    initializer.fill_(tensor, 37.0, 91.0, torch.Generator().manual_seed(1))
    law = ORACLES[name](37.0, 91.0)
    for part in (tensor.real, tensor.imag):
        # Each part has the distribution scaled by 1/sqrt(2): together they have the declared variance.
        scaled = part.double().flatten().numpy() * math.sqrt(2)
        assert stats.kstest(scaled, law.cdf).pvalue > FALSE_ALARM
    assert abs(np.corrcoef(tensor.real.flatten(), tensor.imag.flatten())[0, 1]) < 6 / math.sqrt(5e4)


@pytest.mark.parametrize("name", ["orthogonal", "delta_orthogonal"])
def test_complex_orthogonal_is_unitary(name: str) -> None:
    tensor = filled(name, (24, 12, 3), dtype=torch.complex128)
    matrix = tensor.reshape(24, 36).mH if name == "orthogonal" else tensor[:, :, 1]
    product = matrix.mH @ matrix
    torch.testing.assert_close(product, torch.eye(len(product), dtype=torch.complex128))
    assert tensor.imag.abs().max() > 0.1


@pytest.mark.parametrize("name", NAMES)
def test_depends_on_the_generator_alone(name: str) -> None:
    shape = shapes_of(name)[0]
    torch.manual_seed(1)
    first = filled(name, shape, seed=7)
    torch.manual_seed(2)
    assert torch.equal(first, filled(name, shape, seed=7))
    assert torch.equal(first, filled(name, shape, seed=8)) == (name in NOT_RANDOM)


@pytest.mark.parametrize("name", RANDOM)
def test_a_generator_advances(name: str) -> None:
    # An initializer that is used twice with one generator must not repeat its draws.
    shape = shapes_of(name)[0]
    generator = torch.Generator().manual_seed(0)
    initializer = get_initializer(name)
    first = initializer.fill_(torch.empty(shape), generator=generator)
    assert not torch.equal(first, initializer.fill_(torch.empty(shape), generator=generator))


@pytest.mark.parametrize("name", RANDOM)
def test_without_a_generator_draws_from_the_global_one(name: str) -> None:
    shape = shapes_of(name)[0]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        drawn = get_initializer(name).fill_(torch.empty(shape))
    assert torch.equal(drawn, filled(name, shape, seed=7))


@pytest.mark.parametrize("name", NAMES)
def test_leaves_the_global_generators_untouched(name: str) -> None:
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    filled(name, shapes_of(name)[0])
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert np.random.get_state()[1].tolist() == before[2]


@pytest.mark.parametrize("name", NAMES)
def test_records_no_gradient(name: str) -> None:
    parameter = nn.Parameter(torch.empty(shapes_of(name)[0]))
    with torch.enable_grad():
        get_initializer(name).fill_(parameter, generator=torch.Generator().manual_seed(0))
    assert parameter.requires_grad
    assert parameter.is_leaf
    assert parameter.grad_fn is None
    assert parameter.grad is None


@pytest.mark.parametrize("name", NAMES)
def test_is_idempotent(name: str) -> None:
    shape = shapes_of(name)[0]
    tensor = torch.full(shape, math.inf)
    for _ in range(2):
        get_initializer(name).fill_(tensor, generator=torch.Generator().manual_seed(4))
    assert torch.equal(tensor, filled(name, shape, seed=4))


@pytest.mark.parametrize("name", NAMES)
def test_memory_layout_makes_no_difference(name: str) -> None:
    for shape in shapes_of(name):
        expected = filled(name, shape, seed=2)
        generator = torch.Generator().manual_seed(2)
        turned = torch.empty(shape[::-1]).permute(*reversed(range(len(shape))))
        assert not turned.is_contiguous()
        assert torch.equal(get_initializer(name).fill_(turned, generator=generator), expected)


@pytest.mark.parametrize("name", NAMES)
def test_fills_only_the_view_it_is_given(name: str) -> None:
    shape = shapes_of(name)[0]
    packed = torch.full((3 * shape[0], *shape[1:]), 7.0)
    generator = torch.Generator().manual_seed(2)
    get_initializer(name).fill_(packed[shape[0] : 2 * shape[0]], generator=generator)
    first, middle, last = packed.chunk(3)
    assert torch.equal(middle, filled(name, shape, seed=2))
    assert bool((first == 7).all())
    assert bool((last == 7).all())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (4, 3, 0), (0,)])
def test_empty_tensors_stay_empty(name: str, shape: tuple[int, ...]) -> None:
    tensor = torch.empty(shape)
    assert get_initializer(name).fill_(tensor) is tensor
    assert tensor.shape == shape


@pytest.mark.parametrize("name", sorted(ORACLES))
@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (1, 1, 1, 1)])
def test_one_element_gets_a_value(name: str, shape: tuple[int, ...]) -> None:
    assert math.isfinite(filled(name, shape).item())


@pytest.mark.parametrize(
    ("name", "shape", "size"),
    [
        ("constant", (), 0.0),
        ("zeros", (1,), 0.0),
        ("ones", (), 1.0),
        ("identity", (1, 1), 1.0),
        ("dirac", (1, 1, 1), 1.0),
        ("orthogonal", (1, 1), 1.0),
        ("orthogonal", (1, 1, 1, 1), 1.0),
        ("delta_orthogonal", (1, 1, 1), 1.0),
        ("sparse", (1, 1), 0.0),
    ],
)
def test_one_element_of_a_matrix_scheme(name: str, shape: tuple[int, ...], size: float) -> None:
    assert abs(filled(name, shape).item()) == size


@pytest.mark.parametrize("name", NAMES)
def test_refuses_what_it_cannot_fill(name: str) -> None:
    initializer = get_initializer(name)
    shape = shapes_of(name)[0]
    refused = {
        "lazy": nn.LazyLinear(3).weight,
        "meta": torch.empty(shape, device="meta"),
        "sparse": torch.eye(4).to_sparse(),
        "int64": torch.zeros(shape, dtype=torch.int64),
        "bool": torch.zeros(shape, dtype=torch.bool),
        "expanded": torch.zeros(1, 1, 1, 1).expand(4, 4, 3, 3),
    }
    for word, tensor in refused.items():
        with pytest.raises(ModelError, match=f"cannot initialize.*{word}.*: .*") as caught:
            initializer.fill_(tensor)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_specs_and_copies_round_trip(name: str) -> None:
    initializer = get_initializer(name)
    spec = initializer.spec()
    assert get_initializer(json.loads(json.dumps(spec))) == initializer
    assert get_initializer(yaml.safe_load(yaml.safe_dump(spec))) == initializer
    assert get_initializer(initializer) is initializer
    assert pickle.loads(pickle.dumps(initializer)) == initializer
    assert copy.deepcopy(initializer) == initializer
    assert hash(copy.deepcopy(initializer)) == hash(initializer)


@pytest.mark.parametrize("name", NAMES)
def test_labels_of_presets_are_names(name: str) -> None:
    initializer = get_initializer(name)
    label = initializer.label()
    assert get_initializer(label) == initializer, "a default or preset is labelled by its name"


@pytest.mark.parametrize("name", NAMES)
def test_documents_itself(name: str) -> None:
    entry = dict(registry.entries())[name]
    assert entry.builtin
    assert entry.formula
    assert entry.source
    assert entry.family.__doc__
    assert entry.family.needs == NEEDS.get(name, set())


def test_every_concrete_class_is_registered() -> None:
    def concrete(family: type[Initializer]) -> set[type[Initializer]]:
        below = {each for child in family.__subclasses__() for each in concrete(child)}
        own = {family} if family.__module__.startswith("initsearch.") else set()
        return below | {each for each in own if not each.__abstractmethods__}

    known = {entry.family for _, entry in registry.entries()}
    functions = {registry.FunctionInitializer, *registry.FunctionInitializer.__subclasses__()}
    assert concrete(Initializer) - functions <= known


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_cpu_generator_gives_a_gpu_the_cpu_s_values() -> None:
    for name in NAMES:
        shape = shapes_of(name)[0]
        generator = torch.Generator().manual_seed(0)
        tensor = get_initializer(name).fill_(torch.empty(shape, device="cuda"), generator=generator)
        assert torch.equal(tensor.cpu(), filled(name, shape))
