"""One model with all kinds of layers: each parameter is accounted for, found right, and set."""

import warnings

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

from initsearch.initializers import get_initializer
from initsearch.layers import assign_, describe, read

# torch says once per process that it has no fast LSTM with projections.
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")


class Nasty(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 8, padding_idx=3)
        self.bag = nn.EmbeddingBag(11, 8)
        self.bilinear = nn.Bilinear(8, 8, 8)
        self.class_token = nn.Parameter(torch.zeros(1, 1, 8))
        self.conv1 = nn.Conv1d(8, 8, 3, padding=1, groups=2)
        self.conv2 = nn.Conv2d(1, 4, 3, padding=1)
        self.depthwise = nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.conv3 = nn.Conv3d(1, 2, 3, padding=1)
        self.up1 = nn.ConvTranspose1d(8, 8, 4, stride=2, padding=1, groups=2)
        self.up2 = nn.ConvTranspose2d(4, 1, 4, stride=2, padding=1)
        self.up3 = nn.ConvTranspose3d(2, 1, 2, stride=2)
        self.lstm = nn.LSTM(8, 8, 2, bidirectional=True, batch_first=True)
        self.projected = nn.LSTM(16, 9, proj_size=8, batch_first=True)
        self.gru = nn.GRU(8, 8, batch_first=True)
        self.rnn = nn.RNN(8, 8, batch_first=True, nonlinearity="relu")
        self.cell = nn.LSTMCell(8, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True, add_bias_kv=True)
        self.cross = nn.MultiheadAttention(8, 2, batch_first=True, kdim=6, vdim=5)
        encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, activation="gelu")
        self.encoder = nn.TransformerEncoder(encoder, 2, enable_nested_tensor=False)
        self.decoder = nn.TransformerDecoderLayer(8, 2, 16, batch_first=True)
        self.batch_norm = nn.BatchNorm1d(8)
        self.group_norm = nn.GroupNorm(2, 8)
        self.instance_norm = nn.InstanceNorm1d(8, affine=True)
        self.layer_norm = nn.LayerNorm(8)
        self.rms_norm = nn.RMSNorm(8)
        self.before_prelu = nn.Linear(8, 8)
        self.prelu = nn.PReLU(8)
        self.weight_norm = parametrizations.weight_norm(nn.Linear(8, 8))
        self.orthogonal = parametrizations.orthogonal(nn.Linear(8, 8))
        self.spectral = parametrizations.spectral_norm(nn.Linear(8, 8))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            self.old_weight_norm = weight_norm(nn.Linear(8, 8))
        self.old_spectral = spectral_norm(nn.Linear(8, 8))
        self.pruned = prune.l1_unstructured(nn.Linear(8, 8), "weight", amount=0.5)
        self.narrow = nn.Linear(8, 8, dtype=torch.bfloat16)
        self.bare = nn.Parameter(torch.randn(8, 6))
        self.experts = nn.Parameter(torch.randn(2, 6, 8))
        self.gated = nn.Linear(8, 16)
        self.frozen = nn.Linear(8, 8).requires_grad_(False)
        self.head = nn.Linear(8, 11, bias=False)
        self.head.weight = self.embedding.weight
        self.unused = nn.Linear(3, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens) + self.bag(tokens)[:, None]
        x = self.bilinear(x, x)
        x = torch.cat([self.class_token.expand(len(x), -1, -1), x], 1)
        x = F.relu(self.conv1(x.mT)).mT
        flat = torch.tanh(self.up2(F.elu(self.depthwise(F.silu(self.conv2(x[:, None]))))))
        deep = self.up3(torch.sigmoid(self.conv3(x[:, None, None]))).relu()
        long = F.leaky_relu(self.up1(x.mT), 0.2)
        x = x + flat.mean() + deep.mean() + long.mean()
        x = self.rnn(self.gru(self.projected(self.lstm(x)[0])[0])[0])[0]
        x = x + self.cell(x[:, 0])[0][:, None]
        x = self.attention(x, x, x)[0]
        x = self.cross(x, x[..., :6], x[..., :5])[0]
        x = self.decoder(self.encoder(x), x)
        x = self.instance_norm(self.group_norm(self.batch_norm(x.mT))).mT
        x = self.prelu(self.before_prelu(self.rms_norm(self.layer_norm(x))).mT).mT
        x = F.selu(self.orthogonal(self.weight_norm(x).relu()).relu_())
        x = F.mish(self.old_spectral(F.celu(self.old_weight_norm(F.gelu(self.spectral(x))))))
        x = F.softplus(self.narrow(F.hardswish(self.pruned(x)).bfloat16()).float())
        x = torch.sin(x @ self.bare)
        x = torch.stack([F.relu6(x @ self.experts[i]) for i in range(2)]).sum(0)
        x = F.glu(self.gated(x))
        return self.head(F.tanhshrink(self.frozen(x)))


@pytest.fixture
def model() -> Nasty:
    torch.manual_seed(0)
    return Nasty()


TOKENS = torch.tensor([[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]])

# What the forward above says, read line by line.
ACTIVATIONS = {
    "bag.weight": "none",
    "bilinear.weight": "none",
    "conv1.weight": "relu",
    "conv2.weight": "silu",
    "depthwise.weight": "elu",
    "up2.weight": "tanh",
    "conv3.weight": "sigmoid",
    "up3.weight": "relu",
    "up1.weight": "leaky_relu",
    "lstm.weight_hh_l1_reverse": "gates",
    "projected.weight_ih_l0": "gates",
    "projected.weight_hr_l0": "none",
    "gru.weight_ih_l0": "gates",
    "rnn.weight_ih_l0": "relu",
    "cell.weight_hh": "gates",
    "attention.in_proj_weight": "attention",
    "attention.out_proj.weight": "none",
    "cross.k_proj_weight": "attention",
    "cross.out_proj.weight": "none",
    "encoder.layers.1.self_attn.in_proj_weight": "attention",
    "encoder.layers.1.linear1.weight": "gelu",
    "decoder.linear1.weight": "relu",
    "decoder.linear2.weight": "none",
    "before_prelu.weight": "prelu",
    "weight_norm.weight": "relu",
    "orthogonal.weight": "relu",
    "spectral.weight": "gelu",
    "old_weight_norm.weight": "celu",
    "old_spectral.weight": "mish",
    "pruned.weight": "hardswish",
    "narrow.weight": "softplus",
    "bare": "sin",
    "experts": "relu6",
    "gated.weight": "glu",
    "frozen.weight": "tanhshrink",
    "embedding.weight": "none",
    "unused.weight": None,
}


def test_every_parameter_is_accounted_for_once(model: Nasty) -> None:
    slots = describe(model, TOKENS)
    stored = [name for slot in slots for name in slot.stored_as]
    assert sorted(stored) == sorted(name for name, _ in model.named_parameters())
    assert len({slot.name for slot in slots}) == len(slots)
    assert slots[0].tied_names == ("head.weight",)
    for slot in slots:
        covered = torch.zeros(slot.shape)
        for block in slot.blocks:
            block.view(covered).add_(1)
        assert bool((covered == 1).all()), slot.name
    parts = {slot.name: slot.part for slot in slots}
    assert sum(part == "norm_weight" for part in parts.values()) == 5 + 4 + 3
    assert {name for name, part in parts.items() if part == "other"} == {
        "class_token",
        "attention.bias_k",
        "attention.bias_v",
        "prelu.weight",
    }
    assert [name for name, s in ((s.name, s) for s in slots) if not s.requires_grad] == [
        "frozen.weight",
        "frozen.bias",
    ]


def test_what_follows_is_what_the_forward_says(model: Nasty) -> None:
    slots = {slot.name: slot for slot in describe(model, TOKENS)}
    assert {name: slots[name].activation for name in ACTIVATIONS} == ACTIVATIONS
    for name, slot in slots.items():
        if slot.part == "bias" and f"{name.removesuffix('bias')}weight" in slots:
            weight = slots[f"{name.removesuffix('bias')}weight"]
            assert (slot.activation, slot.role) == (weight.activation, weight.role), name
    roles = {name: slot.role for name, slot in slots.items() if slot.role not in ("hidden", None)}
    assert roles == {"embedding.weight": "head", "bag.weight": "first"}
    assert (slots["bare"].fan_in, slots["bare"].fan_out) == (8, 6)
    assert [(b.fan_in, b.fan_out) for b in slots["experts"].blocks] == [(6, 8)] * 2


@pytest.mark.parametrize("scheme", ["he_normal", "glorot_uniform", "orthogonal", "lecun_normal"])
def test_every_matrix_is_set_by_a_scheme(model: Nasty, scheme: str) -> None:
    initializer = get_initializer(scheme)
    generator = torch.Generator().manual_seed(1)

    def fill(view: Tensor, fan_in: float, fan_out: float, number: int) -> None:
        initializer.fill_(view, fan_in, fan_out, generator)

    slots = [slot for slot in describe(model, TOKENS) if slot.part == "weight"]
    before = {slot.name: read(model, slot).clone() for slot in slots}
    for slot in slots:
        assign_(model, slot, fill)
    for slot in slots:
        now = read(model, slot)
        assert bool(torch.isfinite(now).all()), slot.name
        assert not torch.equal(now, before[slot.name]), slot.name
        if scheme == "orthogonal" and slot.kind in ("lstm", "gru", "attention") and not slot.note:
            for block in slot.blocks:
                matrix = block.view(now)
                small = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
                assert torch.allclose(small @ small.T, torch.eye(len(small)), atol=1e-4), slot.name
    assert bool((model.embedding.weight[3] == 0).all())
    assert bool(torch.isfinite(model(TOKENS)).all())
    layers = model.encoder.layers
    assert not torch.equal(layers[0].linear1.weight, layers[1].linear1.weight)
