"""Fans, parts and defaults of each kind of module, compared with torch's draws and measured variances."""

import math

import pytest
import torch
from torch import nn

from initsearch.initializers import Initializer, get_initializer
from initsearch.layers import Slot, assign_, describe

# torch warns once per process that it has no fast LSTM with projections.
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")


def slots_of(module: nn.Module) -> dict[str, Slot]:
    return {slot.name: slot for slot in describe(module)}


def fans(slot: Slot) -> tuple[float, float]:
    return slot.fan_in, slot.fan_out


@pytest.mark.parametrize(
    ("module", "kind", "expected"),
    [
        (nn.Linear(7, 5), "linear", (7, 5)),
        (nn.Bilinear(3, 4, 5), "bilinear", (12, 20)),
        (nn.Conv1d(6, 8, 5), "conv1d", (30, 40)),
        (nn.Conv2d(6, 8, (3, 5), stride=2, dilation=2), "conv2d", (90, 120)),
        (nn.Conv3d(2, 4, 2), "conv3d", (16, 32)),
        (nn.Conv2d(6, 12, 3, groups=3), "conv2d", (18, 36)),
        (nn.Conv2d(8, 8, 7, groups=8), "conv2d", (49, 49)),
        (nn.Conv2d(4, 12, 3, groups=4), "conv2d", (9, 27)),
        (nn.ConvTranspose1d(6, 8, 4, stride=2), "conv_transpose1d", (12, 32)),
        (nn.ConvTranspose2d(256, 16, 4, stride=2), "conv_transpose2d", (1024, 256)),
        (nn.ConvTranspose2d(6, 12, 3, groups=3), "conv_transpose2d", (18, 36)),
        (nn.ConvTranspose3d(2, 4, 4, stride=(1, 2, 4)), "conv_transpose3d", (16, 256)),
        (nn.Embedding(50, 8), "embedding", (8, 8)),
        (nn.EmbeddingBag(50, 8), "embedding", (8, 8)),
    ],
)
def test_fans_come_from_the_module(
    module: nn.Module, kind: str, expected: tuple[float, float]
) -> None:
    slot = slots_of(module)["weight"]
    assert (slot.kind, slot.category) == (kind, "weight")
    assert fans(slot) == expected
    assert all((part.fan_in, part.fan_out) == expected for part in slot.parts)
    bias = slots_of(module).get("bias")
    if bias is not None:
        assert (bias.kind, bias.category, fans(bias)) == (kind, "bias", expected)


def drawn(module: nn.Module, slot: Slot, initializer: str) -> None:
    generator = torch.Generator().manual_seed(1)
    init = get_initializer(initializer)

    def fill(view: torch.Tensor, fan_in: float, fan_out: float, _: int) -> None:
        init.fill_(view, fan_in, fan_out, generator)

    assign_(module, slot, fill)


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (nn.ConvTranspose2d(256, 16, 4, stride=2, bias=False), (8, 256, 24, 24)),
        (nn.ConvTranspose2d(64, 64, 4, stride=2, groups=16, bias=False), (8, 64, 24, 24)),
        (nn.ConvTranspose1d(128, 32, 6, stride=3, bias=False), (16, 128, 64)),
        (nn.ConvTranspose2d(64, 32, 3, stride=1, bias=False), (8, 64, 24, 24)),
        (nn.Conv2d(1024, 1024, 3, groups=1024, bias=False), (4, 1024, 16, 16)),
        (nn.Conv2d(64, 64, 3, groups=8, bias=False), (8, 64, 24, 24)),
        (nn.Conv2d(64, 32, 3, dilation=2, bias=False), (8, 64, 24, 24)),
        (nn.Linear(300, 200, bias=False), (512, 300)),
        (nn.Bilinear(40, 30, 50, bias=False), (512, 40)),
    ],
)
@pytest.mark.parametrize("scheme", ["lecun_normal", "he_normal"])
def test_output_variance_is_the_scheme_s(
    module: nn.Module, shape: tuple[int, ...], scheme: str
) -> None:
    # He's rule allows for half of the entries to be zero, as after a ReLU. Here they are zero at random,
    # which keeps the mean of the inputs at zero: with few outputs, a mean would only add noise.
    generator = torch.Generator().manual_seed(0)
    drawn(module, slots_of(module)["weight"], scheme)

    def batch(*size: int) -> torch.Tensor:
        return torch.randn(size, generator=generator)

    x = batch(*shape)
    inputs = [x, batch(shape[0], 30)] if isinstance(module, nn.Bilinear) else [x]
    if scheme == "he_normal":
        inputs[0] = inputs[0] * (batch(*shape) > 0)
    with torch.no_grad():
        out = module(*inputs)
    margin = 0
    if isinstance(module, nn.ConvTranspose1d | nn.ConvTranspose2d):
        margin = module.kernel_size[0]  # edge outputs see fewer taps
        out = out[(..., *(slice(margin, -margin),) * (out.ndim - 2))]
    # The spread over thousands of weights and 10^5 outputs is about 2%.
    assert float(out.pow(2).mean()) == pytest.approx(1.0, rel=0.05)


def test_torch_reads_a_transposed_convolution_the_wrong_way_round() -> None:
    # torch takes fan_in from the second entry of the shape, which gives a variance of 4.09 here.
    module = nn.ConvTranspose2d(256, 16, 4, stride=2, bias=False)
    torch.manual_seed(0)
    fan_in, _ = nn.init._calculate_fan_in_and_fan_out(module.weight)
    with torch.no_grad():
        module.weight.normal_(0, fan_in**-0.5)
        out = module(torch.randn(4, 256, 24, 24))[..., 4:-4, 4:-4]
    assert float(out.var()) == pytest.approx(4.09, rel=0.08)
    assert slots_of(module)["weight"].fan_in / fan_in == 4.0


def moments(initializer: Initializer) -> tuple[float, float]:
    """Mean and standard deviation of the three distributions that torch draws from."""
    if hasattr(initializer, "limit"):
        return 0.0, float(initializer.limit) / math.sqrt(3)
    if hasattr(initializer, "std"):
        return 0.0, float(initializer.std)
    return float(initializer.value), 0.0  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Linear(400, 400),
        lambda: nn.Bilinear(30, 40, 50),
        lambda: nn.Conv1d(50, 60, 5),
        lambda: nn.Conv2d(60, 40, 3, groups=4),
        lambda: nn.Conv2d(600, 600, 5, groups=600),
        lambda: nn.ConvTranspose2d(60, 40, 4, stride=2),
        lambda: nn.ConvTranspose1d(120, 80, 4, groups=4),
        lambda: nn.Embedding(500, 80),
        lambda: nn.EmbeddingBag(500, 80),
        lambda: nn.LSTM(80, 90),
        lambda: nn.LSTM(80, 90, proj_size=60),
        lambda: nn.GRU(80, 90, bidirectional=True),
        lambda: nn.RNN(80, 90),
        lambda: nn.LSTMCell(80, 90),
        lambda: nn.GRUCell(80, 90),
        lambda: nn.RNNCell(80, 90),
        lambda: nn.MultiheadAttention(120, 4),
        lambda: nn.MultiheadAttention(120, 4, kdim=90, vdim=70, add_bias_kv=True),
        lambda: nn.TransformerEncoderLayer(96, 4, 128),
        lambda: nn.Transformer(64, 2, 1, 1, 96, batch_first=True),
        lambda: nn.BatchNorm2d(50),
        lambda: nn.InstanceNorm1d(50, affine=True),
        lambda: nn.LayerNorm([10, 50]),
        lambda: nn.GroupNorm(5, 50),
        lambda: nn.RMSNorm(50),
        lambda: nn.PReLU(50, init=0.1),
    ],
)
def test_torch_default_is_what_torch_draws(make) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    module = make()
    values = dict(module.named_parameters())
    slots = slots_of(module)
    assert set(slots) == set(values)
    for name, slot in slots.items():
        default, value = slot.torch_default, values[name].detach()
        assert default is not None, name
        mean, spread = moments(default)
        n = value.numel()
        # Five standard errors: std / sqrt(n) for a mean, about std / sqrt(2 n) for a standard deviation.
        assert abs(float(value.double().mean()) - mean) <= 5 * spread / n**0.5 + 1e-7, name
        found = float(value.double().std(correction=0)) if n > 1 else 0.0
        assert abs(found - spread) <= 5 * spread / math.sqrt(2 * n), name
        limit = getattr(default, "limit", None)
        if limit is not None:
            assert float(value.abs().max()) <= limit * (1 + 1e-6), name


def test_a_subclass_that_resets_itself_has_no_known_default() -> None:
    class Mine(nn.Linear):
        def reset_parameters(self) -> None:
            nn.init.ones_(self.weight)
            nn.init.ones_(self.bias)

    slot = slots_of(Mine(3, 4))["weight"]
    assert (slot.kind, slot.torch_default, fans(slot)) == ("linear", None, (3, 4))


@pytest.mark.parametrize(
    "module",
    [
        nn.Linear(4, 3),
        nn.Bilinear(4, 3, 2),
        nn.Conv1d(4, 3, 2),
        nn.Embedding(4, 3),
        nn.GRU(4, 3),
        nn.MultiheadAttention(4, 2),
        nn.LayerNorm(4),
    ],
)
def test_parameters_added_to_a_known_module_are_not_weights_of_its_kind(module: nn.Module) -> None:
    before = set(slots_of(module))
    module.register_parameter("extra", nn.Parameter(torch.zeros(4, 5)))
    module.register_parameter("extra_bias", nn.Parameter(torch.zeros(4)))
    slots = slots_of(module)
    assert set(slots) == before | {"extra", "extra_bias"}
    assert (slots["extra"].kind, slots["extra"].category) == ("other", "other")
    assert (slots["extra_bias"].kind, slots["extra_bias"].category) == ("other", "bias")


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors:UserWarning")
def test_layers_without_inputs_have_no_default() -> None:
    slot = slots_of(nn.Linear(0, 3))["weight"]
    assert (fans(slot), slot.torch_default) == ((0, 3), None)


def test_recurrent_gates_are_parts_with_their_names() -> None:
    slots = slots_of(nn.LSTM(6, 5, num_layers=2, proj_size=3, bidirectional=True))
    first = slots["weight_ih_l0"]
    assert [part.label for part in first.parts] == [
        "input_gate",
        "forget_gate",
        "cell_gate",
        "output_gate",
    ]
    assert first.parts[1].view(torch.arange(20)).tolist() == [5, 6, 7, 8, 9]
    assert fans(first) == (6, 5)
    assert fans(slots["weight_hh_l0_reverse"]) == (3, 5)
    assert fans(slots["weight_ih_l1"]) == (6, 5)  # both directions' projections
    assert (fans(slots["weight_hr_l0"]), slots["weight_hr_l0"].activation) == ((5, 3), "none")
    assert slots["weight_ih_l0"].activation == "gates"
    gru = slots_of(nn.GRU(6, 5))["weight_hh_l0"]
    assert [part.label for part in gru.parts] == ["reset_gate", "update_gate", "new_gate"]
    assert slots_of(nn.RNN(6, 5, nonlinearity="relu"))["weight_ih_l0"].activation == "relu"
    assert slots_of(nn.RNNCell(6, 5))["weight_ih"].activation == "tanh"


def test_one_of_two_biases_of_a_recurrent_layer_adds_to_the_other() -> None:
    for module in (nn.LSTM(4, 3), nn.GRU(4, 3), nn.RNN(4, 3)):
        added = {name: slot.adds_to for name, slot in slots_of(module).items() if slot.adds_to}
        assert added == {"bias_hh_l0": "bias_ih_l0"}
    slots = slots_of(nn.Sequential(nn.LSTMCell(4, 3)))
    assert slots["0.bias_hh"].adds_to == "0.bias_ih"


def test_attention_is_three_matrices() -> None:
    slots = slots_of(nn.MultiheadAttention(8, 2))
    packed = slots["in_proj_weight"]
    assert [part.label for part in packed.parts] == ["query", "key", "value"]
    assert {(part.fan_in, part.fan_out) for part in packed.parts} == {(8.0, 8.0)}
    weight = torch.arange(24).view(24, 1).expand(24, 8)
    assert [int(part.view(weight)[0, 0]) for part in packed.parts] == [0, 8, 16]
    assert slots["in_proj_bias"].category == "bias"
    assert slots["out_proj.weight"].kind == "linear"
    apart = slots_of(nn.MultiheadAttention(8, 2, kdim=6, vdim=4))
    assert fans(apart["k_proj_weight"]) == (6, 8)
    assert fans(apart["v_proj_weight"]) == (4, 8)
    assert apart["q_proj_weight"].category == "weight"


def test_groups_are_separate_parts_with_outputs_first() -> None:
    module = nn.Conv2d(4, 6, 3, groups=2)
    slot = slots_of(module)["weight"]
    assert [tuple(part.view(module.weight).shape) for part in slot.parts] == [(3, 2, 3, 3)] * 2
    transposed = nn.ConvTranspose2d(4, 6, 3, groups=2)
    slot = slots_of(transposed)["weight"]
    assert [tuple(b.view(transposed.weight).shape) for b in slot.parts] == [(3, 2, 3, 3)] * 2
    shared = slot.parts[1].view(transposed.weight.detach())
    shared.zero_()
    assert transposed.weight[:2].count_nonzero() == transposed.weight[:2].numel()
    assert transposed.weight[2:].count_nonzero() == 0


@pytest.mark.parametrize(
    ("module", "kind"),
    [
        (nn.BatchNorm1d(4), "batch_norm"),
        (nn.BatchNorm3d(4), "batch_norm"),
        (nn.SyncBatchNorm(4), "batch_norm"),
        (nn.InstanceNorm2d(4, affine=True), "instance_norm"),
        (nn.LayerNorm(4), "layer_norm"),
        (nn.GroupNorm(2, 4), "group_norm"),
        (nn.RMSNorm(4), "rms_norm"),
    ],
)
def test_norms_have_a_gain_and_a_shift(module: nn.Module, kind: str) -> None:
    slots = slots_of(module)
    assert {slot.kind for slot in slots.values()} == {kind}
    assert slots["weight"].category == "norm_weight"
    assert slots["weight"].role is None
    if "bias" in slots:
        assert slots["bias"].category == "norm_bias"


def test_parameters_of_unknown_modules_are_described_by_their_shape() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(5, 3, 2))
            self.bias = nn.Parameter(torch.zeros(5))
            self.temperature = nn.Parameter(torch.ones(()))

    class ChannelNorm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gamma = nn.Parameter(torch.ones(1, 4, 1, 1))
            self.beta = nn.Parameter(torch.zeros(1, 4, 1, 1))

    slots = slots_of(Odd())
    assert (slots["weight"].kind, slots["weight"].category) == ("other", "weight")
    assert fans(slots["weight"]) == (6, 10)
    assert "Odd" in slots["weight"].note
    assert slots["bias"].category == "bias"
    assert (slots["temperature"].category, slots["temperature"].role) == ("other", None)
    norm = slots_of(ChannelNorm())
    assert [norm["gamma"].category, norm["beta"].category] == ["norm_weight", "norm_bias"]


def test_hugging_faces_conv1d_is_a_transposed_linear_layer() -> None:
    class Conv1D(nn.Module):  # as in transformers.pytorch_utils
        def __init__(self, nf: int, nx: int) -> None:
            super().__init__()
            self.nf = nf
            self.weight = nn.Parameter(torch.empty(nx, nf).normal_(std=0.02))
            self.bias = nn.Parameter(torch.zeros(nf))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            flat = torch.addmm(self.bias, x.view(-1, x.size(-1)), self.weight)
            return flat.view(*x.shape[:-1], self.nf)

    model = nn.Sequential(Conv1D(12, 4), nn.GELU(), nn.Linear(12, 2))
    slot = {s.name: s for s in describe(model, torch.randn(2, 3, 4))}["0.weight"]
    assert (slot.kind, fans(slot), slot.activation, slot.role) == (
        "linear",
        (4, 12),
        "gelu",
        "first",
    )
    assert tuple(slot.parts[0].view(model[0].weight).shape) == (12, 4)
