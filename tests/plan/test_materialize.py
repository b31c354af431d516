"""Models on the meta device and sharded models: the same values as on one CPU, and little memory besides."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.utils._python_dispatch import TorchDispatchMode

from initsearch.errors import ModelError
from initsearch.plan import InitPlan


class Recurrent(nn.Module):
    """An embedding, an LSTM and a tied head."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, 16, padding_idx=0)
        self.lstm = nn.LSTM(16, 16, batch_first=True)
        self.head = nn.Linear(16, 20, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.lstm(self.embed(tokens))[0])  # type: ignore[no-any-return]


class Graph(nn.Module):
    """A weight (in, out) of no known layer, a table of positions, and a module that sets itself."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(12, 24))
        self.positions = nn.Parameter(torch.empty(5, 12))
        self.register_buffer("scale", torch.empty(()))
        self.out = nn.Linear(24, 3)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.normal_(self.weight)
        nn.init.constant_(self.positions, 0.02)
        nn.init.constant_(self.scale, 2.0)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.relu((x + self.positions) @ self.weight) / self.scale)  # type: ignore[no-any-return]


def conv_net() -> nn.Module:
    """Convolutions with batch norm and several activations."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=2), nn.GELU(),
        nn.Flatten(), nn.Linear(8 * 28 * 28, 5),
    )  # fmt: skip


def transformer() -> nn.Module:
    """Two layers of torch's encoder: packed attention, and layers copied from each other."""
    layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


def normed() -> nn.Module:
    """A weight under weight_norm."""
    return nn.Sequential(parametrizations.weight_norm(nn.Linear(8, 8)), nn.Tanh(), nn.Linear(8, 2))


BY_ACTIVATION = {
    "rules": [
        {"where": {"activation": "relu"}, "weight": "he_uniform"},
        {"where": {"activation": ["gelu", "tanh"]}, "weight": "orthogonal"},
    ],
    "default": {"weight": "glorot_normal", "bias": "zeros"},
}


@pytest.mark.filterwarnings("ignore::initsearch.errors.NoEffectWarning")
@pytest.mark.parametrize("build", [conv_net, Recurrent, Graph, transformer, normed])
@pytest.mark.parametrize("spec", ["he_normal", BY_ACTIVATION], ids=["name", "rules"])
def test_a_meta_model_gets_the_values_of_one_on_the_cpu(
    build: Callable[[], nn.Module], spec: Any
) -> None:
    plan = InitPlan.from_spec(spec)
    batch = torch.randn(2, 5, 12) if build is Graph else None
    expected = build()
    first = plan.apply(expected, seed=3, batch=batch)
    with torch.device("meta"):
        model = build()
    state = torch.get_rng_state()
    second = plan.materialize(model, "cpu", seed=3, batch=batch)
    assert torch.equal(torch.get_rng_state(), state)
    kept = {row.parameter for row in first.rows if row.initializer == "keep"}
    values = dict(model.named_parameters())
    for name, value in expected.named_parameters():
        if name not in kept:
            assert torch.equal(values[name], value), name
    assert [row.parameter for row in second.rows] == [row.parameter for row in first.rows]
    for name, buffer in expected.named_buffers():
        assert torch.equal(dict(model.named_buffers())[name], buffer)


def test_what_the_plan_keeps_is_as_the_framework_makes_it() -> None:
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(3, 50), nn.BatchNorm1d(50), Graph())
    InitPlan.from_spec({"rules": [{"where": {"name": "2.weight"}, "weight": "zeros"}]}).materialize(
        model, "cpu"
    )
    assert 0 < float(model[0].weight.detach().abs().max()) <= 3**-0.5
    assert bool((model[1].weight == 1).all())
    assert not bool(model[1].bias.any())
    assert bool((model[2].positions == 0.02).all())
    assert not bool(model[2].weight.any())


def test_tied_parameters_stay_tied_and_keep_their_attributes() -> None:
    with torch.device("meta"):
        model = Recurrent()
    model.embed.weight.label = "table"
    InitPlan.from_spec("normal").materialize(model, "cpu")
    assert model.head.weight is model.embed.weight
    assert model.head.weight.label == "table"
    assert not bool(model.embed.weight[0].any())


def test_a_buffer_that_nothing_sets_is_refused() -> None:
    with torch.device("meta"):
        model = nn.Linear(3, 3)
        model.register_buffer("mask", torch.ones(3, 3))
        model.reset_parameters = None
    with pytest.raises(ModelError, match=r"mask must get its values .* has no reset_parameters"):
        InitPlan.from_spec("normal").materialize(model, "cpu")


class Allocations(TorchDispatchMode):
    """The bytes of all storages that operations have made and that are alive, at most."""

    def __init__(self) -> None:
        super().__init__()
        self.alive: dict[int, Any] = {}
        self.most = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        import weakref

        out = func(*args, **(kwargs or {}))
        for each in out if isinstance(out, tuple | list) else (out,):
            if isinstance(each, Tensor) and not each.is_meta:
                storage = each.untyped_storage()
                self.alive[storage.data_ptr()] = (weakref.ref(each), storage.nbytes())
        self.alive = {key: held for key, held in self.alive.items() if held[0]() is not None}
        self.most = max(self.most, sum(size for _, size in self.alive.values()))
        return out


def test_beyond_the_model_memory_holds_one_parameter() -> None:
    with torch.device("meta"):
        model = nn.Sequential(*(nn.Linear(400, 400, bias=False) for _ in range(12)))
    counted = Allocations()
    with counted:
        InitPlan.from_spec("he_normal").materialize(model, "cpu")
    one = 400 * 400 * 4
    assert counted.most <= (12 + 1) * one + 100_000
