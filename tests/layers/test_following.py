"""The activation that follows each layer, on small models that show it themselves."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from initsearch.layers import Slot, describe


def weights(model: nn.Module, batch: Any = None) -> dict[str, Slot]:
    slots = [slot for slot in describe(model, batch) if slot.category == "weight"]
    return {slot.name.removesuffix(".weight"): slot for slot in slots}


def table(model: nn.Module, batch: Any = None) -> dict[str, str | None]:
    return {name: slot.activation for name, slot in weights(model, batch).items()}


class Net(nn.Module):
    """Linear layers a, b, c, d of width 8 and a forward that is passed in."""

    def __init__(self, forward: Callable[..., Any], **extra: nn.Module) -> None:
        super().__init__()
        for name in "abcd":
            setattr(self, name, nn.Linear(8, 8))
        for name, module in extra.items():
            setattr(self, name, module)
        self._forward = forward

    def forward(self, x: Tensor) -> Any:
        return self._forward(self, x)


def follow(forward: Callable[..., Any], **extra: nn.Module) -> dict[str, str | None]:
    found = weights(Net(forward, **extra), torch.randn(4, 8))
    return {
        name: slot.activation for name, slot in found.items() if slot.activation_source == "trace"
    }


ACTIVATIONS: list[tuple[str, Any]] = [
    ("relu", nn.ReLU()),
    ("relu", nn.ReLU(inplace=True)),
    ("relu", F.relu),
    ("relu", F.relu_),
    ("relu", torch.relu),
    ("relu", Tensor.relu),
    ("relu", Tensor.relu_),
    ("relu", lambda x: x.clamp(min=0)),
    ("relu", lambda x: x.clamp_min(0)),
    ("relu", lambda x: torch.ops.aten.relu(x)),
    ("relu6", nn.ReLU6()),
    ("relu6", F.relu6),
    ("relu6", lambda x: x.clamp(0, 6)),
    ("hardtanh", nn.Hardtanh()),
    ("hardtanh", lambda x: torch.clamp(x, -1, 1)),
    ("leaky_relu", nn.LeakyReLU(0.2)),
    ("leaky_relu", lambda x: F.leaky_relu(x, 0.2, inplace=True)),
    ("rrelu", nn.RReLU()),
    ("prelu", nn.PReLU()),
    ("elu", nn.ELU()),
    ("selu", F.selu),
    ("celu", nn.CELU()),
    ("gelu", nn.GELU()),
    ("gelu", nn.GELU(approximate="tanh")),
    ("silu", nn.SiLU(inplace=True)),
    ("mish", nn.Mish()),
    ("tanh", nn.Tanh()),
    ("tanh", torch.tanh),
    ("tanh", Tensor.tanh_),
    ("sigmoid", Tensor.sigmoid),
    ("sigmoid", torch.special.expit),
    ("logsigmoid", nn.LogSigmoid()),
    ("softplus", nn.Softplus()),
    ("softsign", nn.Softsign()),
    ("softshrink", nn.Softshrink()),
    ("hardshrink", nn.Hardshrink()),
    ("tanhshrink", nn.Tanhshrink()),
    ("threshold", nn.Threshold(0.1, 0.0)),
    (
        "none",
        lambda x: torch.clamp(x, torch.zeros(8), torch.ones(8)),
    ),  # the limits may be parameters
    ("none", lambda x: torch.maximum(x, x.mean())),
    ("silu", lambda x: (1 - x) * torch.sigmoid(1 - x)),
    ("hardswish", nn.Hardswish()),
    ("hardsigmoid", nn.Hardsigmoid()),
    ("softmax", nn.Softmax(-1)),
    ("softmax", lambda x: x.softmax(-1)),
    ("log_softmax", nn.LogSoftmax(-1)),
    ("glu", lambda x: torch.cat([F.glu(x)] * 2, -1)),
    ("sin", torch.sin),
    # Written out by hand.
    ("silu", lambda x: x * torch.sigmoid(x)),
    ("silu", lambda x: torch.sigmoid(1.702 * x) * x),
    ("hardswish", lambda x: x * F.relu6(x + 3) / 6),
    ("mish", lambda x: x * torch.tanh(F.softplus(x))),
    ("gelu", lambda x: 0.5 * x * (1 + torch.erf(x / 2**0.5))),
    ("gelu", lambda x: 0.5 * x * (1 + torch.tanh(0.79788 * (x + 0.044715 * x**3)))),
    ("sigmoid", lambda x: 2 * torch.sigmoid(x) - 1),
]


@pytest.mark.parametrize(("name", "activation"), ACTIVATIONS)
def test_every_activation_is_known_by_its_common_name(name: str, activation: Any) -> None:
    found = follow(lambda net, x: net.b(activation(net.a(x))))
    assert found == {"a": name, "b": "none"}


@pytest.mark.parametrize(
    "between",
    [
        nn.BatchNorm1d(8),
        nn.LayerNorm(8),
        nn.RMSNorm(8),
        nn.GroupNorm(2, 8),
        nn.Dropout(),
        nn.Identity(),
        nn.Unflatten(1, (2, 4)),
        lambda x: x.view(-1, 4, 2).transpose(1, 2),
        lambda x: F.max_pool1d(x[:, None], 2),
        lambda x: F.normalize(x) * 3 + 1,
        lambda x: torch.cat([x, x], 0)[1:],
        lambda x: torch.stack(x.split(2, -1)).mean(0),
        lambda x: torch.where(x > 5, torch.zeros_like(x), x),
        lambda x: x.to(torch.float64).contiguous(),
        lambda x: x.masked_fill(x > 5, 0.0),
        lambda x: torch.zeros(4, 8).index_copy(0, torch.arange(4), x),
    ],
)
@pytest.mark.parametrize("inplace", [False, True])
def test_operations_between_a_layer_and_its_activation_do_not_hide_it(
    between: Any, inplace: bool
) -> None:
    extra = {"between": between} if isinstance(between, nn.Module) else {}
    found = follow(lambda net, x: F.relu(between(net.a(x)), inplace=inplace), **extra)
    assert found == {"a": "relu"}


def test_what_is_written_to_a_slice_is_in_the_whole() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        out = torch.zeros(len(x), 16)
        out[:, :8] = net.a(x)
        return net.b(torch.tanh(out)[:, :8])

    assert follow(forward) == {"a": "tanh", "b": "none"}

    def by_parts(net: Any, x: Tensor) -> Tensor:
        out = torch.zeros(len(x), 16)
        for i, row in enumerate(x):  # as detection models collect their images
            out[i, :8].copy_(row)
        gathered = torch.zeros(len(x), 8)
        gathered[:2].copy_(net.a(out[:, :8])[:2])
        return net.b(torch.tanh(gathered))

    slots = weights(Net(by_parts), torch.randn(4, 8))
    assert (slots["a"].activation, slots["a"].role) == ("tanh", "first")


def test_an_activation_in_place_reaches_all_views() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        a = net.a(x)
        a.view(-1).relu_()
        return net.b(torch.sigmoid(a))  # of values that are already activated

    assert follow(forward)["a"] == "relu"


def test_an_activation_may_come_before_the_norm() -> None:
    norm = nn.LayerNorm(8)
    found = follow(lambda net, x: net.b(norm(torch.tanh(net.a(x)))), norm=norm)
    assert found == {"a": "tanh", "b": "none"}


def test_residual_adds() -> None:
    def after(net: Any, x: Tensor) -> Tensor:
        x = net.a(x)
        return net.d(F.relu(net.c(F.gelu(net.b(x))) + x))

    assert follow(after) == {"a": "relu", "b": "gelu", "c": "relu", "d": "none"}

    def before(net: Any, x: Tensor) -> Tensor:
        x = net.a(x)
        x = x + net.b(F.elu(x))
        x += net.c(F.elu(x))
        return net.d(x)

    assert follow(before) == {"a": "elu", "b": "elu", "c": "none", "d": "none"}


def test_of_two_activations_the_first_counts_and_the_note_names_both() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        a = net.a(x)
        return net.b(torch.tanh(a)) + net.c(F.relu(a))

    slot = weights(Net(forward), torch.randn(2, 8))["a"]
    assert slot.activation == "tanh"
    assert "tanh and relu" in slot.note
    assert "comes first" in slot.note


def test_another_weight_layer_that_reads_the_output_does_not_count() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        a = net.a(x)
        return F.relu(net.b(a) + a)

    slot = weights(Net(forward), torch.randn(2, 8))["a"]
    assert (slot.activation, slot.note) == ("relu", "")


def test_a_module_used_twice() -> None:
    def same(net: Any, x: Tensor) -> Tensor:
        return net.b(F.relu(net.a(F.relu(net.a(x)))))

    found = weights(Net(same), torch.randn(2, 8))
    assert (found["a"].activation, found["a"].role, found["a"].note) == ("relu", "first", "")

    def other(net: Any, x: Tensor) -> Tensor:
        return net.a(F.gelu(net.a(F.relu(net.a(x)))))

    slot = weights(Net(other), torch.randn(2, 8))["a"]
    assert (slot.activation, slot.role) == ("relu", "head")
    assert "relu and gelu" in slot.note


def test_gated_units() -> None:
    def apart(net: Any, x: Tensor) -> Tensor:
        return net.c(F.silu(net.a(x)) * net.b(x))

    assert follow(apart) == {"a": "swiglu", "b": "swiglu", "c": "none"}

    def geglu(net: Any, x: Tensor) -> Tensor:
        return net.c(net.b(x) * F.gelu(net.a(x)))

    assert follow(geglu) == {"a": "geglu", "b": "geglu", "c": "none"}

    def halves(net: Any, x: Tensor) -> Tensor:
        u, v = net.wide(x).chunk(2, -1)
        return net.c(F.silu(u) * v)

    assert follow(halves, wide=nn.Linear(8, 16))["wide"] == "swiglu"

    def by_hand(net: Any, x: Tensor) -> Tensor:
        y = net.wide(x)
        return net.c(y[..., :8] * torch.sigmoid(y[..., 8:]))

    assert follow(by_hand, wide=nn.Linear(8, 16))["wide"] == "glu"


def test_squeeze_and_excitation_scales_and_does_not_gate() -> None:
    class Squeezed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)
            self.norm = nn.BatchNorm2d(4)
            self.down = nn.Conv2d(4, 2, 1)
            self.up = nn.Conv2d(2, 4, 1)
            self.head = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = self.norm(self.conv(x))
            x = x * torch.sigmoid(self.up(F.silu(self.down(x.mean((2, 3), keepdim=True)))))
            return self.head(F.relu(x).mean((2, 3)))

    expected = {"conv": "relu", "down": "silu", "up": "sigmoid", "head": "none"}
    assert table(Squeezed(), torch.randn(2, 3, 8, 8)) == expected
    # With one pixel the scale has the shape of the features.
    assert table(Squeezed(), torch.randn(2, 3, 3, 3)) == expected


class Attention(nn.Module):
    """Single-head attention by hand."""

    def __init__(self, how: str) -> None:
        super().__init__()
        for name in ("q", "k", "v", "out"):
            setattr(self, name, nn.Linear(8, 8))
        self.how = how

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.q(x), self.k(x), self.v(x)
        if self.how == "sdpa":
            y = F.scaled_dot_product_attention(q, k, v)
        elif self.how == "einsum":
            scores = torch.einsum("btd,bsd->bts", q, k) / 8**0.5
            y = torch.einsum("bts,bsd->btd", F.dropout(scores.softmax(-1), 0.1, self.training), v)
        elif self.how == "bmm":
            mask = torch.ones(x.shape[1], x.shape[1]).triu(1).bool()
            scores = torch.bmm(q, k.transpose(1, 2)).masked_fill(mask, float("-inf"))
            y = torch.bmm(torch.softmax(scores, -1), v)
        else:
            y = F.softmax(q @ k.mT, -1) @ v
        return self.out(y)


@pytest.mark.parametrize("how", ["sdpa", "einsum", "bmm", "matmul"])
def test_attention_by_hand(how: str) -> None:
    expected = {"q": "attention", "k": "attention", "v": "attention", "out": "none"}
    assert table(Attention(how), torch.randn(2, 5, 8)) == expected


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
def test_attention_of_torch(train: bool, batch_first: bool) -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, activation="gelu", batch_first=batch_first)
    model = nn.Sequential(layer.train(train), nn.Linear(8, 3))
    assert table(model, torch.randn(3, 4, 8)) == {
        "0.self_attn.in_proj_weight": "attention",
        "0.self_attn.out_proj": "none",
        "0.linear1": "gelu",
        "0.linear2": "none",
        "1": "none",
    }


def test_a_product_with_an_adjacency_matrix_is_not_attention() -> None:
    adjacency = torch.eye(4)

    def forward(net: Any, x: Tensor) -> Tensor:
        return F.softmax(adjacency @ net.b(F.relu(adjacency @ net.a(x))), -1)

    assert follow(forward) == {"a": "relu", "b": "softmax"}


def test_control_flow_that_depends_on_the_data() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        x = net.a(x)
        while float(x.norm()) > 1.0:
            x = x / 2
        return net.b(torch.tanh(x)) if float(x.sum()) > -1e9 else net.c(F.relu(x))

    assert follow(forward) == {"a": "tanh", "b": "none"}


def test_parameters_used_by_functions() -> None:
    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Parameter(torch.randn(8, 6))
            self.second = nn.Parameter(torch.randn(4, 6))
            self.third = nn.Parameter(torch.randn(2, 4))
            self.scale = nn.Parameter(torch.ones(4))

        def forward(self, x: Tensor) -> Tensor:
            x = F.relu(x @ self.first)
            x = F.gelu(self.scale * F.linear(x, self.second))
            return (self.third @ x.mT).mT

    slots = {slot.name: slot for slot in describe(Bare(), torch.randn(3, 8))}
    assert {n: (s.category, s.activation, s.role) for n, s in slots.items()} == {
        "first": ("weight", "relu", "first"),
        "second": ("weight", "gelu", "hidden"),
        "third": ("weight", "none", "head"),
        "scale": ("other", None, None),
    }
    fans = {name: (slot.fan_in, slot.fan_out) for name, slot in slots.items()}
    assert (fans["first"], fans["second"], fans["third"]) == ((8, 6), (6, 4), (4, 2))
    assert slots["first"].parts[0].view(torch.zeros(8, 6)).shape == (6, 8)


def test_weights_in_lists_and_stacks() -> None:
    class Bank(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.matrices = nn.ParameterList([torch.randn(8, 6), torch.randn(6, 5)])
            self.experts = nn.Parameter(torch.randn(3, 5, 7))

        def forward(self, x: Tensor) -> Tensor:
            x = torch.tanh(F.relu(x @ self.matrices[0]) @ self.matrices[1])
            return F.silu(torch.bmm(x.expand(3, -1, -1), self.experts))

    slots = {slot.name: slot for slot in describe(Bank(), torch.randn(4, 8))}
    assert {name: (slot.category, slot.activation) for name, slot in slots.items()} == {
        "matrices.0": ("weight", "relu"),
        "matrices.1": ("weight", "tanh"),
        "experts": ("weight", "silu"),
    }
    parts = slots["experts"].parts
    assert [(part.fan_in, part.fan_out) for part in parts] == [(5, 7)] * 3
    assert parts[2].view(torch.zeros(3, 5, 7)).shape == (7, 5)


def test_a_low_rank_update_belongs_to_the_layer_it_updates() -> None:
    class LowRank(nn.Linear):
        def __init__(self) -> None:
            super().__init__(8, 8)
            self.down = nn.Parameter(torch.randn(2, 8))
            self.up = nn.Parameter(torch.randn(8, 2))

        def forward(self, x: Tensor) -> Tensor:
            return F.linear(x, self.weight + self.up @ self.down, self.bias)

    slots = {s.name: s for s in describe(nn.Sequential(LowRank(), nn.ReLU(), nn.Linear(8, 2)))}
    assert slots["0.weight"].activation == "relu"
    assert slots["0.up"].category == "other"  # not a weight of its own, but a factor of one


class Swish(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(x)


class Snake(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(8))

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.sin(self.alpha * x) ** 2 / self.alpha


class Bent(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x > 0, x, 0.1 * x)


class ScaledTanh(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 1.7159 * torch.tanh(2 / 3 * x)


class Kernel(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return torch.from_numpy(x.detach().numpy() ** 3)


class Cubic(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return Kernel.apply(x)  # type: ignore[no-untyped-call,no-any-return]


class NewGELUActivation(nn.Module):  # its name in Hugging Face
    def forward(self, x: Tensor) -> Tensor:
        return 0.5 * x * (1 + torch.tanh(0.79788456 * (x + 0.044715 * torch.pow(x, 3))))


class Threes(nn.Module):
    """Not entry by entry, and not of the input's shape: it is not an activation."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flip(-1).repeat(1, 3)[:, :8]


class Scale(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.full((8,), 0.5))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gain + 1


class MeanNorm(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x) * 0 + x / x.abs().mean(-1, keepdim=True)


class DropPath(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * x.new_empty(len(x), 1).bernoulli_(0.5)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (Swish(), "silu"),
        (Snake(), "snake"),
        (Bent(), "bent"),
        (ScaledTanh(), "tanh"),
        (Cubic(), "cubic"),
        (NewGELUActivation(), "gelu"),
        (Scale(), "relu"),  # affine: what comes after it counts
        (Threes(), "relu"),
        (MeanNorm(), "relu"),  # a norm by its name, whatever its operations
        (DropPath(), "relu"),
    ],
)
def test_modules_of_the_user_s_own(module: nn.Module, name: str) -> None:
    found = follow(lambda net, x: net.b(F.relu(net.own(net.a(x)))), own=module)
    assert found == {"a": name, "b": "none"}


def test_a_layer_with_its_own_kernel() -> None:
    class Fast(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(8, 8))

        def forward(self, x: Tensor) -> Tensor:
            return torch.from_numpy(x.detach().numpy() @ self.weight.detach().numpy().T)

    found = follow(lambda net, x: net.b(F.relu(net.own(F.gelu(net.a(x))))), own=Fast())
    assert found == {"a": "gelu", "own": "relu", "b": "none"}


def test_a_module_whose_failure_the_model_catches() -> None:
    class FailingNorm(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise ArithmeticError("not today")

    def forward(net: Any, x: Tensor) -> Tensor:
        x = net.a(x)
        try:
            x = net.own(x)
        except ArithmeticError:
            x = F.gelu(x)
        return net.b(x)

    assert follow(forward, own=FailingNorm()) == {"a": "gelu", "b": "none"}


def test_an_unknown_successor_is_not_reported_as_none() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        lost = torch.from_numpy(net.a(x).detach().numpy())
        return net.b(F.relu(lost))

    slot = weights(Net(forward), torch.randn(2, 8))["a"]
    assert (slot.activation, slot.activation_source) == (None, "unknown")
    assert "not known" in slot.note


def test_the_activation_is_available_as_a_function() -> None:
    x = torch.linspace(-2, 2, 9)
    net = Net(lambda n, x: n.c(F.elu(n.b(F.leaky_relu(n.a(x), 0.3)), alpha=0.5, inplace=True)))
    found = weights(net, torch.randn(2, 8))
    for name, expected in (("a", F.leaky_relu(x, 0.3)), ("b", F.elu(x, 0.5))):
        function = found[name].activation_function
        assert function is not None
        assert torch.equal(function(x), expected)
    assert x[0] == -2  # not in place
    assert found["c"].activation_function is None
    swish = weights(Net(lambda n, x: n.b(n.own(n.a(x))), own=Swish()), torch.randn(2, 8))["a"]
    assert swish.activation_function is not None
    assert torch.allclose(swish.activation_function(x), F.silu(x))


def test_roles() -> None:
    def roles(forward: Callable[..., Any]) -> dict[str, str | None]:
        found = weights(Net(forward), torch.randn(2, 8))
        return {n: slot.role for n, slot in found.items() if slot.activation_source == "trace"}

    assert roles(lambda n, x: n.c(F.relu(n.b(F.relu(n.a(x)))))) == {
        "a": "first",
        "b": "hidden",
        "c": "head",
    }
    assert roles(lambda n, x: n.a(x)) == {"a": "head"}
    assert roles(lambda n, x: torch.sigmoid(n.a(x))) == {"a": "head"}
    # After an activation that is not an output function, it is still the last layer.
    assert roles(lambda n, x: F.relu(n.b(F.relu(n.a(x))))) == {"a": "first", "b": "head"}
    assert roles(lambda n, x: (F.relu(n.b(n.a(x))), n.c(x))) == {
        "a": "first",
        "b": "hidden",
        "c": "head",
    }
    # The order of use, not of registration; two towers and two outputs.
    assert roles(lambda n, x: (n.a(F.relu(n.d(x))), n.b(F.relu(n.c(x))))) == {
        "d": "first",
        "a": "head",
        "c": "first",
        "b": "head",
    }
    # Parallel branches are all heads; of a residual stream only the last layer is.
    assert roles(lambda n, x: n.a(x) + n.c(F.relu(n.b(x)))) == {
        "a": "head",
        "b": "first",
        "c": "head",
    }

    def stream(n: Any, x: Tensor) -> Tensor:
        x = n.a(x)
        x = x + n.b(F.relu(x))
        return x + n.c(F.relu(x))

    assert roles(stream) == {"a": "first", "b": "hidden", "c": "head"}


def test_an_output_that_is_not_known_has_the_last_layer_as_its_head() -> None:
    class Result:
        def __init__(self, value: Tensor) -> None:
            self.value = value

    found = weights(Net(lambda n, x: Result(n.b(F.relu(n.a(x))))), torch.randn(2, 8))
    assert (found["b"].role, found["b"].activation) == ("head", None)
    assert (found["a"].role, found["a"].activation) == ("first", "relu")
