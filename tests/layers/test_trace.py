"""`trace_forward`: the calls in execution order, and what an observer sees."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from initsearch.layers import LayerCall, Observer, trace_forward


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(6, 3)
        self.body = nn.Linear(6, 6)
        self.norm = nn.BatchNorm1d(6)
        self.stem = nn.Linear(4, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + F.relu(self.norm(self.body(x)), inplace=True)
        return self.head(torch.tanh(self.body(x)))


class Log(Observer):
    """Keeps copies of what it receives, and gradients of layers' outputs."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, str]] = []
        self.outputs: dict[int, Tensor] = {}
        self.before: dict[int, Tensor] = {}
        self.after: dict[int, Tensor] = {}
        self.gradients: dict[int, Tensor] = {}
        self.started_times = 0

    def started(self) -> None:
        self.started_times += 1
        self.events.clear()

    def produced(self, call: LayerCall, output: Tensor) -> None:
        self.events.append(("produced", call.weight, ""))
        self.outputs[call.index] = output.detach().clone()
        if output.requires_grad:
            output.register_hook(lambda g: self.gradients.__setitem__(call.index, g.clone()))

    def activating(self, call: LayerCall, name: str, tensor: Tensor) -> None:
        self.before[call.index] = tensor.detach().clone()

    def activated(self, call: LayerCall, name: str, tensor: Tensor) -> None:
        self.events.append(("activated", call.weight, name))
        self.after[call.index] = tensor.detach().clone()


def test_calls_in_execution_order() -> None:
    found = trace_forward(Net(), torch.randn(5, 4))
    rows = [
        (
            call.index,
            call.operation,
            call.weight,
            call.repeat,
            sorted(call.sources),
            call.activation,
        )
        for call in found.calls
    ]
    assert rows == [
        (0, "linear", "stem.weight", 0, [], "none"),
        (1, "linear", "body.weight", 0, [0], "relu"),
        (2, "linear", "body.weight", 1, [0, 1], "tanh"),
        (3, "linear", "head.weight", 0, [2], "none"),
    ]
    assert [call.module_name for call in found.calls] == ["stem", "body", "body", "head"]
    assert [call.parameters for call in found.calls][3] == ("head.weight", "head.bias")
    assert [call.is_output for call in found.calls] == [False, False, False, True]
    assert [call.reads_input for call in found.calls] == [True] * 4
    assert [call.index for call in found.of("body.bias")] == [1, 2]
    order = sorted(found.first_use, key=lambda name: found.first_use[name])
    assert order[::2] == ["stem.weight", "body.weight", "norm.weight", "head.weight"]


def test_an_observer_sees_pre_activations_activations_and_gradients() -> None:
    torch.manual_seed(0)
    model, x = Net().train(), torch.randn(5, 4)
    log = Log()
    trace_forward(
        model,
        x,
        observer=log,
        gradients=True,
        after=lambda out: out.square().sum().backward(),
    )
    # The oracle: the same by hand, on the model itself.
    stem = model.stem(x)
    first = model.body(stem)
    normed = model.norm(first)
    stream = stem + F.relu(normed)
    second = model.body(stream)
    out = model.head(torch.tanh(second))
    for tensor in (stem, first, second, out):
        tensor.retain_grad()
    out.square().sum().backward()
    for index, expected in enumerate((stem, first, second, out)):
        assert torch.equal(log.outputs[index], expected)
        assert expected.grad is not None
        assert torch.allclose(log.gradients[index], expected.grad, atol=1e-6)
    assert torch.equal(log.before[1], normed)  # after the norm, before the change in place
    assert torch.equal(log.after[1], F.relu(normed))
    assert torch.equal(log.before[2], second)
    assert torch.equal(log.after[2], torch.tanh(second))
    assert 3 not in log.after
    assert log.events == [
        ("produced", "stem.weight", ""),
        ("produced", "body.weight", ""),
        ("activated", "body.weight", "relu"),
        ("produced", "body.weight", ""),
        ("activated", "body.weight", "tanh"),
        ("produced", "head.weight", ""),
    ]


def test_gradients_of_the_trace_stay_out_of_the_model() -> None:
    model = Net()
    trace_forward(model, torch.randn(5, 4), gradients=True, after=lambda out: out.sum().backward())
    assert all(parameter.grad is None for parameter in model.parameters())
    seen: list[bool] = []
    trace_forward(model, torch.randn(5, 4), after=lambda out: seen.append(out.requires_grad))
    trace_forward(
        model, torch.randn(5, 4), gradients=True, after=lambda out: seen.append(out.requires_grad)
    )
    assert seen == [False, True]


def test_mode_and_samples_are_chosen() -> None:
    class Reporting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            seen.append((self.training, len(x)))
            return self.a(x)

    seen: list[tuple[bool, int]] = []
    model = Reporting().train()
    x = torch.randn(9, 4)
    trace_forward(model, x)
    trace_forward(model, x, samples=2, train=False)
    trace_forward(model.eval(), (x, torch.zeros(9)), samples=3)
    assert seen == [(True, 9), (False, 2), (False, 3)]


def test_an_observer_is_notified_of_a_new_start() -> None:
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return torch.tanh(self.a(x)).view(8, 2, 2)

    log = Log()
    trace_forward(Fixed(), torch.randn(8, 4), observer=log, samples=2)  # fails on two, runs on all
    assert log.started_times == 2
    assert log.events == [("produced", "a.weight", ""), ("activated", "a.weight", "tanh")]
    assert log.outputs[0].shape == (8, 4)


def test_what_an_observer_computes_is_not_traced() -> None:
    class Busy(Observer):
        def produced(self, call: LayerCall, output: Tensor) -> None:
            torch.relu(output)
            F.linear(output, model[0].weight[:, :1].expand(-1, output.shape[-1]))

    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh())
    found = trace_forward(model, torch.randn(2, 4), observer=Busy())
    assert [(call.weight, call.activation) for call in found.calls] == [("0.weight", "tanh")]


def test_an_error_in_the_observer_is_not_attributed_to_the_batch() -> None:
    class Broken(Observer):
        def produced(self, call: LayerCall, output: Tensor) -> None:
            raise ZeroDivisionError("mine")

    class Late(Observer):
        def activated(self, call: LayerCall, name: str, tensor: Tensor) -> None:
            raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        trace_forward(nn.Linear(2, 2), torch.randn(2, 2), observer=Broken())
    with pytest.raises(ZeroDivisionError, match="mine"):
        trace_forward(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), torch.randn(2, 2), observer=Late())
    with pytest.raises(ZeroDivisionError):
        trace_forward(nn.Linear(2, 2), torch.randn(2, 2), after=lambda out: 1 / 0)
