"""One model with all kinds of layers: each parameter is listed, described correctly, and filled."""

import pytest
import torch
from nasty_model import TOKENS, Nasty
from torch import Tensor

from initsearch.initializers import get_initializer
from initsearch.layers import assign_, describe, read

# torch warns once per process that it has no fast LSTM with projections.
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")


@pytest.fixture
def model() -> Nasty:
    torch.manual_seed(0)
    return Nasty()


# What the model's forward shows, read line by line.
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


def test_every_parameter_is_listed_once(model: Nasty) -> None:
    slots = describe(model, TOKENS)
    stored = [name for slot in slots for name in slot.stored_as]
    assert sorted(stored) == sorted(name for name, _ in model.named_parameters())
    assert len({slot.name for slot in slots}) == len(slots)
    assert slots[0].tied_names == ("head.weight",)
    for slot in slots:
        covered = torch.zeros(slot.shape)
        for part in slot.parts:
            part.view(covered).add_(1)
        assert bool((covered == 1).all()), slot.name
    categories = {slot.name: slot.category for slot in slots}
    assert sum(category == "norm_weight" for category in categories.values()) == 5 + 4 + 3
    assert {name for name, category in categories.items() if category == "other"} == {
        "class_token",
        "attention.bias_k",
        "attention.bias_v",
        "prelu.weight",
    }
    assert [name for name, s in ((s.name, s) for s in slots) if not s.requires_grad] == [
        "frozen.weight",
        "frozen.bias",
    ]


def test_the_activations_are_those_of_the_forward(model: Nasty) -> None:
    slots = {slot.name: slot for slot in describe(model, TOKENS)}
    assert {name: slots[name].activation for name in ACTIVATIONS} == ACTIVATIONS
    for name, slot in slots.items():
        if slot.category == "bias" and f"{name.removesuffix('bias')}weight" in slots:
            weight = slots[f"{name.removesuffix('bias')}weight"]
            assert (slot.activation, slot.role) == (weight.activation, weight.role), name
    roles = {name: slot.role for name, slot in slots.items() if slot.role not in ("hidden", None)}
    assert roles == {"embedding.weight": "head", "bag.weight": "first"}
    assert (slots["bare"].fan_in, slots["bare"].fan_out) == (8, 6)
    assert [(b.fan_in, b.fan_out) for b in slots["experts"].parts] == [(6, 8)] * 2


@pytest.mark.parametrize("scheme", ["he_normal", "glorot_uniform", "orthogonal", "lecun_normal"])
def test_every_matrix_is_filled_by_a_scheme(model: Nasty, scheme: str) -> None:
    initializer = get_initializer(scheme)
    generator = torch.Generator().manual_seed(1)

    def fill(view: Tensor, fan_in: float, fan_out: float, number: int) -> None:
        initializer.fill_(view, fan_in, fan_out, generator)

    slots = [slot for slot in describe(model, TOKENS) if slot.category == "weight"]
    before = {slot.name: read(model, slot).clone() for slot in slots}
    for slot in slots:
        assign_(model, slot, fill)
    for slot in slots:
        now = read(model, slot)
        assert bool(torch.isfinite(now).all()), slot.name
        assert not torch.equal(now, before[slot.name]), slot.name
        if scheme == "orthogonal" and slot.kind in ("lstm", "gru", "attention") and not slot.note:
            for part in slot.parts:
                matrix = part.view(now)
                small = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
                assert torch.allclose(small @ small.T, torch.eye(len(small)), atol=1e-4), slot.name
    assert bool((model.embedding.weight[3] == 0).all())
    assert bool(torch.isfinite(model(TOKENS)).all())
    layers = model.encoder.layers
    assert not torch.equal(layers[0].linear1.weight, layers[1].linear1.weight)
