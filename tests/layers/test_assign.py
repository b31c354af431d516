"""Filling a parameter: part by part, through parametrizations, tied, padded, in half precision."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune, spectral_norm, weight_norm

from initsearch.errors import ModelError
from initsearch.layers import Slot, assign_, describe, read

pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")


def slot_of(model: nn.Module, name: str) -> Slot:
    return {slot.name: slot for slot in describe(model)}[name]


def put(value: Tensor) -> Callable[[Tensor, float, float, int], None]:
    """A fill that copies `value` (of the view's shape) into a view."""

    def fill(view: Tensor, fan_in: float, fan_out: float, number: int) -> None:
        view.copy_(value)

    return fill


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(3))


def test_parts_are_filled_in_order_with_their_fans() -> None:
    model = nn.LSTM(6, 5)
    seen = []

    def fill(view: Tensor, fan_in: float, fan_out: float, number: int) -> None:
        seen.append((tuple(view.shape), fan_in, fan_out, number))
        assert not torch.is_grad_enabled()
        view.fill_(float(number))

    assign_(model, slot_of(model, "weight_ih_l0"), fill)
    assert seen == [((5, 6), 6.0, 5.0, number) for number in range(4)]
    assert model.weight_ih_l0[:, 0].tolist() == [n for n in (0, 1, 2, 3) for _ in range(5)]
    assert model.weight_ih_l0.grad_fn is None
    assert model.weight_ih_l0.requires_grad


def test_orthogonal_groups_of_a_transposed_convolution() -> None:
    # The view has outputs first: the map from inputs to outputs is orthogonal.
    model = nn.ConvTranspose1d(8, 4, 3, groups=2)
    slot = slot_of(model, "weight")

    def fill(view: Tensor, *_: float) -> None:
        view.copy_(nn.init.orthogonal_(torch.empty(view.shape)))

    assign_(model, slot, fill)
    for group in range(2):
        rows = model.weight[group * 4 : group * 4 + 4].transpose(0, 1).flatten(1)
        assert torch.allclose(rows @ rows.T, torch.eye(2), atol=1e-5)


def test_weight_norm_is_set_through_its_parametrization() -> None:
    value = noise(4, 3)
    for make in (parametrizations.weight_norm, weight_norm):
        model = nn.Sequential(make(nn.Linear(3, 4)), nn.ReLU())
        slot = slot_of(model, "0.weight")
        assert slot.shape == (4, 3)
        assert slot.kind == "linear"
        assert "weight_norm" in slot.note or "WeightNorm" in slot.note
        assert set(slot.stored_as) < set(model.state_dict())
        assert slot.requires_grad
        assign_(model, slot, put(value))
        assert torch.allclose(
            model[0](noise(2, 3)), noise(2, 3) @ value.T + model[0].bias, atol=1e-6
        )
        assert torch.allclose(read(model, slot), value, atol=1e-6)


def test_zero_under_weight_norm_is_refused_and_nothing_changes() -> None:
    for make in (parametrizations.weight_norm, weight_norm):
        model = nn.Sequential(make(nn.Linear(3, 4)))
        before = {name: value.clone() for name, value in model.state_dict().items()}
        with pytest.raises(ModelError, match=r"0\.weight.*no finite weight.*zero"):
            assign_(model, slot_of(model, "0.weight"), put(torch.zeros(4, 3)))
        for name, value in model.state_dict().items():
            assert torch.equal(value, before[name]), name
        assert torch.isfinite(model(noise(2, 3))).all()


@pytest.mark.parametrize("train", [True, False])
def test_spectral_norm_divides_by_the_new_weight_s_norm(train: bool) -> None:
    value = noise(6, 5)
    expected = value / torch.linalg.matrix_norm(value, 2)
    for make in (parametrizations.spectral_norm, spectral_norm):
        results = []
        for seed in (0, 1):  # the result does not depend on the former values
            torch.manual_seed(seed)
            model = make(nn.Linear(5, 6)).train(train)
            assign_(model, slot_of(model, "weight"), put(value))
            results.append(read(model, slot_of(model, "weight")))
            assert model.training is train
        assert torch.equal(results[0], results[1])
        assert torch.allclose(results[0], expected, rtol=0.02, atol=1e-3)


def test_an_orthogonal_parametrization_stays_orthogonal() -> None:
    model = parametrizations.orthogonal(nn.Linear(5, 5))
    target = torch.linalg.qr(noise(5, 5)).Q
    assign_(model, slot_of(model, "weight"), put(target))
    assert torch.allclose(model.weight, target, atol=1e-5)
    assign_(model, slot_of(model, "weight"), put(noise(5, 5)))
    assert torch.allclose(model.weight @ model.weight.T, torch.eye(5), atol=1e-5)


def test_a_parametrization_that_cannot_be_set_is_refused() -> None:
    class Symmetric(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.triu() + x.triu(1).T

    model = nn.Linear(4, 4)
    parametrize.register_parametrization(model, "weight", Symmetric())
    before = model.weight.detach().clone()
    slot = slot_of(model, "weight")
    assert "Symmetric" in slot.note
    with pytest.raises(ModelError, match=r"weight: its parametrization.*keep"):
        assign_(model, slot, put(noise(4, 4)))
    assert torch.equal(model.weight, before)


def test_a_pruned_weight_keeps_its_mask() -> None:
    model = nn.Linear(6, 4)
    prune.l1_unstructured(model, "weight", amount=0.5)
    slot = slot_of(model, "weight")
    assert slot.stored_as == ("weight_orig",)
    assign_(model, slot, put(torch.ones(4, 6)))
    assert torch.equal(model.weight, model.weight_mask)
    assert model(noise(2, 6)).shape == (2, 4)


def test_padding_stays_zero() -> None:
    for module in (nn.Embedding(6, 3, padding_idx=2), nn.EmbeddingBag(6, 3, padding_idx=2)):
        slot = slot_of(module, "weight")
        assert "row 2" in slot.note
        assign_(module, slot, put(torch.ones(6, 3)))
        assert module.weight.sum(1).tolist() == [3, 3, 0, 3, 3, 3]


class Tied(nn.Module):
    """A language model whose head reads the embedding."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.head = nn.Linear(4, 6, bias=False)
        self.embedding = nn.Embedding(6, 4, padding_idx=0)
        self.hidden = nn.Linear(4, 4)
        if how == "parameter":
            self.head.weight = self.embedding.weight
        else:
            self.head.weight = nn.Parameter(self.embedding.weight.data)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.hidden(self.embedding(x))))


@pytest.mark.parametrize("how", ["parameter", "storage"])
def test_tied_weights_are_one_slot(how: str) -> None:
    model = Tied(how)
    slots = {slot.name: slot for slot in describe(model)}
    assert set(slots) == {"head.weight", "hidden.weight", "hidden.bias"}
    slot = slots["head.weight"]
    assert slot.tied_names == ("embedding.weight",)
    assert [alias.kind for alias in slot.aliases] == ["embedding"]
    assert slot.kind == "linear"
    assert slot.role == "head"
    # Also the embedding's padding row, although the slot is the head's.
    assign_(model, slot, put(torch.ones(6, 4)))
    assert model.embedding.weight.sum(1).tolist() == [0, 4, 4, 4, 4, 4]
    assert torch.equal(model.head.weight, model.embedding.weight)


def test_a_module_with_two_names_is_one_slot() -> None:
    shared = nn.Linear(4, 4)
    model = nn.Sequential(shared, nn.ReLU(), shared, nn.Tanh(), nn.Linear(4, 2))
    slots = {slot.name: slot for slot in describe(model)}
    assert list(slots) == ["0.weight", "0.bias", "4.weight", "4.bias"]
    assert slots["0.weight"].tied_names == ("2.weight",)
    assert slots["0.weight"].activation == "relu"
    assert "relu and tanh" in slots["0.weight"].note


def test_flattened_recurrent_weights_are_not_tied() -> None:
    # On some devices all weights of an LSTM are views of one storage.
    model = nn.LSTM(3, 4)
    names = [name for name, _ in model.named_parameters()]
    flat = torch.cat([p.detach().flatten() for p in model.parameters()])
    offset = 0
    for name, parameter in list(model.named_parameters()):
        view = flat[offset : offset + parameter.numel()].view(parameter.shape)
        offset += parameter.numel()
        setattr(model, name, nn.Parameter(view))
    assert [slot.name for slot in describe(model)] == names


def test_types_and_frozen_parameters_are_reported() -> None:
    model = nn.Linear(3, 2, dtype=torch.bfloat16)
    model.bias.requires_grad_(False)
    slots = {slot.name: slot for slot in describe(model)}
    assert slots["weight"].dtype == torch.bfloat16
    assert (slots["weight"].requires_grad, slots["bias"].requires_grad) == (True, False)
    assign_(model, slots["bias"], put(torch.ones(2)))
    assert model.bias.tolist() == [1, 1]
    complex_ = {s.name: s for s in describe(nn.Linear(3, 2, dtype=torch.complex64))}
    assert complex_["weight"].dtype == torch.complex64


def test_another_model_is_refused() -> None:
    slot = slot_of(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), "1.weight")
    with pytest.raises(ModelError, match="no module '1'"):
        assign_(nn.Sequential(nn.Linear(2, 2)), slot, put(torch.ones(2, 2)))
    with pytest.raises(ModelError, match=r"no parameter '1\.weight'"):
        read(nn.Sequential(nn.ReLU(), nn.ReLU()), slot)
