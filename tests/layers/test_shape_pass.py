"""Large models are described by a pass of shapes alone; it shows what a real pass shows, or is not used."""

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from initsearch.errors import ModelError
from initsearch.layers import Slot, describe
from initsearch.layers import passes as passes_module
from initsearch.layers.trace import shapes as shapes_module

WIDTH = 320


class Residual(nn.Module):
    """Convolutions with batch norm, a residual branch in place, pooling and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, WIDTH, 3, padding=1)
        self.norm = nn.BatchNorm2d(WIDTH)
        self.inner = nn.Conv2d(WIDTH, WIDTH, 3, padding=1)
        self.last = nn.Conv2d(WIDTH, WIDTH, 3, padding=1)
        self.last_norm = nn.BatchNorm2d(WIDTH)
        self.head = nn.Linear(WIDTH, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.stem(x)), inplace=True)
        x += self.last_norm(self.last(F.gelu(self.inner(x))))
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))  # type: ignore[no-any-return]


class ReadsValues(Residual):
    """Takes a way that depends on values."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = torch.tanh(x) if x.std().item() >= 0 else torch.relu(x)
        return self.head(self.inner(x).mean((2, 3)))  # type: ignore[no-any-return]


class Clamp(nn.Module):
    """An activation that only its values show."""

    def forward(self, x: Tensor) -> Tensor:
        return x * (x > 0)


class OwnActivation(Residual):
    """Has an activation of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.clamp = Clamp()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.inner(self.clamp(self.stem(x))).mean((2, 3)))  # type: ignore[no-any-return]


class WritesThroughList(Residual):
    """Changes a weight, past torch's version counter, through a reference that is not registered."""

    def __init__(self) -> None:
        super().__init__()
        self.all_weights = [self.inner.weight]

    def forward(self, x: Tensor) -> Tensor:
        self.all_weights[0].data.mul_(0.5)
        return super().forward(x)


class WritesThroughClosure(Residual):
    """The same through a closure."""

    def __init__(self) -> None:
        super().__init__()
        weight = self.inner.weight
        self.clip: Callable[[], Any] = lambda: weight.data.clamp_(-1e-3, 1e-3)

    def forward(self, x: Tensor) -> Tensor:
        self.clip()
        self.seen = x
        self.register_buffer("late", x.mean())
        return super().forward(x)


MODELS = (Residual, ReadsValues, OwnActivation, WritesThroughList, WritesThroughClosure)


def facts(slots: list[Slot]) -> list[dict[str, Any]]:
    """The fields of slots; functions by their presence, as each trace makes its own."""
    return [
        {
            field.name: value if not callable(value) else "function"
            for field in fields(Slot)
            if (value := getattr(slot, field.name)) is not Ellipsis
        }
        for slot in slots
    ]


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each pass of shapes has shown a model."""
    results: list[bool] = []
    trace = passes_module.trace_shapes

    def recorded(*args: Any) -> Any:
        found = trace(*args)
        results.append(found is not None)
        return found

    monkeypatch.setattr(passes_module, "trace_shapes", recorded)
    return results


@pytest.mark.parametrize("kind", MODELS)
def test_a_pass_of_shapes_shows_what_a_real_pass_shows(
    kind: type[nn.Module], shown: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = kind()
    by_shapes = facts(describe(model, torch.randn(2, 3, 4, 4)))
    assert shown == [kind is Residual]
    monkeypatch.setattr(shapes_module, "_LARGE", 10**12)
    assert by_shapes == facts(describe(model, torch.randn(2, 3, 4, 4)))
    assert len(shown) == 1


@pytest.mark.parametrize("kind", MODELS)
def test_a_pass_of_shapes_leaves_the_model_as_it_was(kind: type[nn.Module]) -> None:
    model = kind()
    tensors = {
        name: (each, each.clone()) for name, each in model.state_dict(keep_vars=True).items()
    }
    attributes = set(vars(model))
    describe(model, torch.randn(2, 3, 4, 4))
    after = model.state_dict(keep_vars=True)
    assert list(after) == list(tensors)
    for name, (tensor, value) in tensors.items():
        assert after[name] is tensor
        assert torch.equal(tensor, value)
    assert set(vars(model)) == attributes
    assert model.training


@pytest.mark.parametrize(
    "batch",
    [
        torch.randn(2, 4, 4, 4),
        torch.randn(2, 3, 4, 4, dtype=torch.float64),
        torch.randint(0, 9, (2, 3, 4, 4)),
    ],
)
def test_a_batch_that_does_not_fit_a_large_model_is_refused(batch: Tensor) -> None:
    with pytest.raises(ModelError, match="batch must be one that Residual accepts"):
        describe(Residual(), batch)


def test_a_batch_norm_of_the_wrong_size_is_the_models_error() -> None:
    model = Residual()
    model.norm = nn.BatchNorm2d(WIDTH + 1)
    with pytest.raises(ModelError, match="running_mean should contain"):
        describe(model, torch.randn(2, 3, 4, 4))
