"""After a traced pass everything is as it was, in the same objects."""

import copy
import random
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from initsearch import InitPlan, diagnose
from initsearch.layers import describe, preserved

Pair = namedtuple("Pair", "left right")


@dataclass
class Memory:
    steps: int = 0
    keys: list[Tensor] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Frozen:
    total: Tensor
    log: list[int]


class Tally:
    __slots__ = ("__dict__", "count", "late")

    def __init__(self) -> None:
        self.count = 0


class ReadOnly(OrderedDict[str, Any]):
    """A mapping that refuses to be written to, as Hugging Face's outputs do."""

    def __setitem__(self, key: str, value: Any) -> None:
        raise TypeError

    def clear(self) -> None:
        raise TypeError


def holding(state: Any) -> nn.Module:
    model = nn.Linear(2, 2)
    model.state = state
    return Owner(model)


class Owner(nn.Sequential):
    """A module of this file: objects of its classes count as the model's own."""


def plain(value: Any) -> Any:
    """A value as nested builtins, which `==` compares; types and order stay visible."""
    if isinstance(value, Tensor):
        dense = value.detach().to_dense() if value.layout != torch.strided else value.detach()
        return str(value.dtype), tuple(value.shape), value.requires_grad, dense.tolist()
    if isinstance(value, np.ndarray):
        return str(value.dtype), value.shape, plain(value.tolist())
    if isinstance(value, torch.Generator):
        return value.get_state().tolist()
    if isinstance(value, np.random.Generator):
        return repr(value.bit_generator.state)
    if isinstance(value, random.Random):
        return value.getstate()
    if isinstance(value, dict):
        kind = OrderedDict if isinstance(value, OrderedDict) else dict
        return type(value), [(key, plain(each)) for key, each in kind.items(value)]
    if isinstance(value, list | tuple | deque):
        return type(value), [plain(each) for each in value]
    if isinstance(value, set):
        return sorted(map(repr, value))
    if hasattr(value, "__dict__") or hasattr(value, "__slots__"):
        state = object.__getstate__(value)
        return type(value), plain(state)
    return value


CHANGES: dict[str, tuple[Callable[[], Any], Callable[[Any], object]]] = {
    "a full deque": (lambda: deque([1, 2], maxlen=2), lambda s: s.append(3)),
    "a Counter": (lambda: Counter("ab"), lambda s: s.update("bc")),
    "a defaultdict": (lambda: defaultdict(list, a=[1]), lambda s: (s["a"].append(2), s["b"])),
    "the order of an OrderedDict": (
        lambda: OrderedDict(a=1, b=2),
        lambda s: s.move_to_end("a"),
    ),
    "a set": (lambda: {1, 2}, lambda s: (s.add(3), s.discard(1))),
    "lists in a dict in a list": (
        lambda: [{"keys": [], "values": [[1]]}],
        lambda s: (s[0]["keys"].append(1), s[0]["values"][0].clear(), s.append(0)),
    ),
    "a list in a named tuple": (lambda: Pair([1], 2), lambda s: s.left.append(3)),
    "a mapping that refuses": (
        lambda: ReadOnly(),
        lambda s: OrderedDict.__setitem__(s, "a", 1),
    ),
    "tensors in a list": (lambda: [torch.zeros(3)], lambda s: s[0].add_(1)),
    "a tensor in a tuple in a dict": (
        lambda: {"k": (torch.zeros(3), None)},
        lambda s: s["k"][0].fill_(torch.nan),
    ),
    "a tensor's shape": (lambda: [torch.zeros(())], lambda s: s[0].resize_(5).fill_(1)),
    "a tensor that shrinks": (lambda: [torch.arange(6)], lambda s: s[0].resize_(2).fill_(9)),
    "a tensor's memory": (
        lambda: [torch.arange(6.0)],
        lambda s: (s[0].add_(1), setattr(s[0], "data", torch.ones(2))),
    ),
    "a tensor's strides": (lambda: [torch.arange(6).view(2, 3)], lambda s: s[0].t_().add_(1)),
    "a tensor's type": (
        lambda: [torch.zeros(3)],
        lambda s: setattr(s[0], "data", s[0].data.double()),
    ),
    "a tensor through .data": (lambda: [torch.zeros(3)], lambda s: s[0].data.add_(1)),
    "an expanded tensor": (
        lambda: [torch.zeros(1, 2).expand(3, 2)],
        lambda s: s[0][0].add_(1),
    ),
    "a sparse tensor": (lambda: [torch.eye(3).to_sparse()], lambda s: s[0].mul_(2)),
    "a sparse tensor's entries": (
        lambda: [torch.eye(3).to_sparse()],
        lambda s: s[0].add_(torch.ones(3, 3).to_sparse()),
    ),
    "a parameter that is not registered": (
        lambda: [nn.Parameter(torch.zeros(2))],
        lambda s: (s[0].requires_grad_(False), s[0].add_(1)),
    ),
    "what training adds in place": (
        lambda: [torch.zeros(2)],
        lambda s: s[0].add_(nn.Parameter(torch.ones(2))),
    ),
    "an array": (lambda: np.zeros(3), lambda s: np.add(s, 1, out=s)),
    "arrays in a dict": (lambda: {"a": np.arange(4)[::-1]}, lambda s: s["a"].sort()),
    "an array's shape": (lambda: np.zeros(4), lambda s: s.resize((2, 3), refcheck=False)),
    "an array of objects": (
        lambda: np.array([[1], None], dtype=object),
        lambda s: (s[0].append(2), s.__setitem__(1, 5)),
    ),
    "torch's generator": (
        lambda: {"g": torch.Generator().manual_seed(5)},
        lambda s: torch.rand(3, generator=s["g"]),
    ),
    "NumPy's generator": (lambda: [np.random.default_rng(3)], lambda s: s[0].normal()),
    "Python's generator": (lambda: random.Random(3), lambda s: s.random()),
    "a dataclass": (
        lambda: Memory(),
        lambda s: (setattr(s, "steps", 3), s.keys.append(torch.ones(2))),
    ),
    "a dataclass with slots": (
        lambda: Frozen(torch.zeros(2), []),
        lambda s: (s.total.add_(1), s.log.append(1), object.__setattr__(s, "log", None)),
    ),
    "an object with slots": (
        lambda: Tally(),
        lambda s: (setattr(s, "count", 3), setattr(s, "late", 1), setattr(s, "more", 1)),
    ),
    "a namespace": (
        lambda: SimpleNamespace(a=[1]),
        lambda s: (s.a.append(2), setattr(s, "b", 1)),
    ),
    "a module in a list": (
        lambda: [nn.BatchNorm1d(2)],
        lambda s: (s[0](torch.randn(8, 2)), s[0].eval()),
    ),
}


@pytest.mark.parametrize(("make", "change"), CHANGES.values(), ids=CHANGES.keys())
def test_what_a_model_holds_is_as_it_was(
    make: Callable[[], Any], change: Callable[[Any], object]
) -> None:
    state = make()
    before = plain(state)
    with preserved(holding(state)):
        change(state)
        assert plain(state) != before, "the change must be seen, or the test shows nothing"
    assert plain(state) == before


def test_objects_stay_the_same_objects() -> None:
    inner = [torch.zeros(2)]
    state = {"a": inner}
    model = holding(state)
    with preserved(model):
        model[0].state = None
        state["a"] = []
        inner[0] = torch.ones(2)
    assert model[0].state is state
    assert state["a"] is inner
    assert bool((inner[0] == 0).all())


def test_a_container_that_holds_itself_is_followed_once() -> None:
    state: list[Any] = [1]
    state.append(state)
    with preserved(holding(state)):
        state.clear()
    assert state[0] == 1
    assert state[1] is state


def test_two_tensors_over_one_memory_are_both_as_they_were() -> None:
    whole = torch.arange(6.0)
    part = whole[2:4]
    with preserved(holding([part, whole])):
        whole.zero_()
        part.resize_(20).fill_(7)
    assert whole.tolist() == [0, 1, 2, 3, 4, 5]
    assert part.tolist() == [2, 3]
    part.fill_(9)
    assert whole.tolist() == [0, 1, 9, 9, 4, 5]


def test_what_leads_out_of_the_model_is_left_alone() -> None:
    class Images(Dataset[Tensor]):
        def __init__(self) -> None:
            self.reads = 0

    class Trainer:
        __module__ = "lightning.pytorch.trainer"
        step = 0

    data, trainer = Images(), Trainer()
    with preserved(holding([data, trainer])):
        data.reads, trainer.step = 1, 1
    assert (data.reads, trainer.step) == (1, 1)


def test_gradients_are_the_same_objects_after_a_change_of_shape() -> None:
    model = nn.Linear(2, 3)
    gradient = torch.ones(3, 2)
    model.weight.grad = gradient
    with preserved(model):
        assert model.weight.grad is None
        model.weight.data = torch.zeros(5, 5)
        model.weight.sum().backward()
    assert model.weight.grad is gradient
    assert model.weight.shape == (3, 2)


class Quantized(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.quant = torch.ao.quantization.QuantStub()
        self.conv = nn.Conv2d(2, 3, 3)
        self.fc = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.relu(self.conv(self.quant(x))).mean((2, 3)))


@pytest.fixture
def observed() -> Iterator[nn.Module]:
    """A model whose observers give their buffers a shape in the first forward pass."""
    model = Quantized().train()
    model.qconfig = torch.ao.quantization.get_default_qat_qconfig("fbgemm")
    torch.ao.quantization.prepare_qat(model, inplace=True)
    return model


@pytest.mark.filterwarnings("ignore")
def test_observers_of_quantization_are_as_they_were(observed: nn.Module) -> None:
    untouched = copy.deepcopy(observed)
    batch = torch.randn(4, 2, 6, 6)
    describe(observed, batch)
    diagnose(observed, batch)
    state, expected = observed.state_dict(), untouched.state_dict()
    assert {n: plain(v) for n, v in state.items()} == {n: plain(v) for n, v in expected.items()}
    # The first true pass then gives what it gives in a model that was never looked at.
    assert torch.equal(observed(batch), untouched(batch))
    InitPlan.from_spec("ones").apply(observed, seed=0, batch=batch)
    assert bool((observed.fc.weight == 1).all())


def test_a_graph_with_a_sparse_adjacency_is_described() -> None:
    class Graph(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(3, 2)
            self.register_buffer("edges", torch.eye(4).to_sparse())

        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(self.fc(torch.sparse.mm(self.edges, x)))

    model = Graph()
    (weight, _) = describe(model, torch.randn(4, 3))
    assert (weight.activation, weight.activation_source) == ("relu", "trace")
    assert torch.equal(model.edges.to_dense(), torch.eye(4))


def test_a_running_mean_kept_without_no_grad_stays_a_leaf() -> None:
    class Running(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(3, 2)
            self.register_buffer("mean", torch.zeros(2))

        def forward(self, x: Tensor) -> Tensor:
            y = self.fc(x)
            self.mean.mul_(0.9).add_(0.1 * y.mean(0))
            return torch.relu(y) - self.mean

    model = Running()
    diagnose(model, torch.randn(8, 3))
    assert model.mean.is_leaf
    assert not model.mean.requires_grad
    assert model.mean.tolist() == [0, 0]
