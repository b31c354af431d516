"""Residual branches, compared with the source of each model, block by block."""

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from initsearch.layers import Slot, describe
from initsearch.tasks.models import ModelSettings, build_model

IMAGE = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def by_place(slots: list[Slot], place: str) -> set[str]:
    return {slot.name for slot in slots if slot.branch == place and "bias" not in slot.name}


def check(
    model: nn.Module, batch: Tensor, branches: int, layers: int, *, names: dict[str, set[str]]
) -> list[Slot]:
    slots = describe(model, batch)
    assert {slot.branches for slot in slots} == {branches}
    assert {slot.branch_layers for slot in slots if slot.branch} == ({layers} if layers else set())
    assert {place: by_place(slots, place) for place in ("inner", "last", "last_norm")} == names
    # A bias has the place of its weight.
    known = {slot.name: slot.branch for slot in slots}
    for slot in slots:
        if slot.category == "bias" and (weight := slot.name.replace("bias", "weight")) in known:
            assert slot.branch == known[weight]
    return slots


def names_in(model: nn.Module, block: type[nn.Module], endings: tuple[str, ...]) -> set[str]:
    """The parameters with these endings in all modules of a class."""
    blocks = [name for name, module in model.named_modules() if type(module) is block]
    known = dict(model.named_parameters())
    found = {f"{name}.{ending}" for name in blocks for ending in endings}
    assert found <= set(known)
    return found


@pytest.mark.parametrize(
    ("name", "branches", "convolutions"), [("resnet18", 8, 2), ("resnet50", 16, 3)]
)
def test_torchvision_s_resnets(name: str, branches: int, convolutions: int) -> None:
    model = getattr(torchvision.models, name)()
    block = type(model.layer1[0])
    inner = tuple(f"conv{i}.weight" for i in range(1, convolutions))
    slots = check(
        model,
        IMAGE,
        branches,
        convolutions,
        names={
            "inner": names_in(model, block, inner),
            "last": names_in(model, block, (f"conv{convolutions}.weight",)),
            "last_norm": names_in(model, block, (f"bn{convolutions}.weight",)),
        },
    )
    outside = {slot.name for slot in slots if slot.branch is None and slot.category == "weight"}
    assert outside == {
        "conv1.weight",
        "fc.weight",
        *(n for n, _ in model.named_parameters() if n.endswith("downsample.0.weight")),
    }


def test_convnext_has_no_norm_after_its_last_layer() -> None:
    model = torchvision.models.convnext_tiny()
    block = type(model.features[1][0])
    check(
        model,
        IMAGE,
        18,
        3,
        names={
            "inner": names_in(model, block, ("block.0.weight", "block.3.weight")),
            "last": names_in(model, block, ("block.5.weight",)),
            "last_norm": set(),
        },
    )


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_the_project_s_own_residual_net(norm: str) -> None:
    spec = {"name": "resnet", "depth": 14, "width": 8, "norm": norm}
    model = build_model(ModelSettings.parse("model", spec), (3, 16, 16), 10)
    blocks = [f"blocks.{i}" for i in range(6)]
    check(
        model,
        IMAGE[:, :, :16, :16],
        6,
        2,
        names={
            "inner": {f"{block}.conv1.weight" for block in blocks},
            "last": {f"{block}.conv2.weight" for block in blocks},
            "last_norm": {f"{block}.norm2.weight" for block in blocks} if norm != "none" else set(),
        },
    )


@pytest.mark.parametrize("norm_first", [False, True])
def test_transformer_layers_have_two_branches(norm_first: bool) -> None:
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, norm_first=norm_first)
    model = nn.Sequential(
        nn.Linear(5, 16),
        nn.TransformerEncoder(layer, 2, enable_nested_tensor=False),
        nn.Linear(16, 3),
    )
    layers = ["1.layers.0", "1.layers.1"]
    check(
        model,
        torch.randn(2, 4, 5),
        4,
        2,
        names={
            "inner": {
                f"{layer}.{name}"
                for layer in layers
                for name in ("self_attn.in_proj_weight", "linear1.weight")
            },
            "last": {
                f"{layer}.{name}"
                for layer in layers
                for name in ("self_attn.out_proj.weight", "linear2.weight")
            },
            # The norm is before the branch, or after the addition.
            "last_norm": set(),
        },
    )


def test_models_without_additions_have_no_branches() -> None:
    for name in ("vgg11", "densenet121"):
        slots = describe(getattr(torchvision.models, name)(), IMAGE)
        assert {(slot.branch, slot.branches, slot.branch_layers) for slot in slots} == {
            (None, 0, 0)
        }


class PreActivation(nn.Module):
    """He et al. 2016: norm and activation before each convolution, a projected shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(8)
        self.conv1 = nn.Conv2d(8, 12, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(12)
        self.conv2 = nn.Conv2d(12, 12, 3, padding=1)
        self.shortcut = nn.Conv2d(8, 12, 1)
        self.head = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = F.relu(self.norm1(x))
        x = self.conv2(F.relu(self.norm2(self.conv1(y)))) + self.shortcut(y)
        return self.head(x.mean((2, 3)))


class Excited(nn.Module):
    """Squeeze and excitation after the last norm, scaled, in-place, and functional norms."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3)
        self.conv1 = nn.Conv2d(8, 8, 3, padding=1)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1)
        self.gain = nn.Parameter(torch.ones(8))
        self.shift = nn.Parameter(torch.zeros(8))
        self.squeeze = nn.Linear(8, 2)
        self.excite = nn.Linear(2, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = F.group_norm(self.conv2(F.relu(self.conv1(x))), 2, self.gain, self.shift)
        gate = torch.sigmoid(self.excite(F.relu(self.squeeze(y.mean((2, 3))))))
        x += 0.3 * (y * gate[:, :, None, None])
        return x


class Parallel(nn.Module):
    """x + f(x) + g(x), and a shortcut around both."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(3, 8)
        self.before = nn.Linear(8, 8)
        self.f = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
        self.g = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
        self.after = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        stem = self.stem(x)
        x = self.before(stem)
        x = x + self.f(x) + self.g(x)
        return stem - self.after(x)


class Recurrent(nn.Module):
    """Sums that are not residual: a recurrent cell, embeddings, a highway's gate."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(9, 6)
        self.places = nn.Embedding(9, 6)
        self.read = nn.Linear(6, 6)
        self.keep = nn.Linear(6, 6)
        self.gate = nn.Linear(6, 6)
        self.new = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.tokens(x) + self.places(torch.arange(x.shape[1]))
        state = torch.zeros(len(x), 6)
        for step in range(x.shape[1]):
            state = torch.tanh(self.read(x[:, step]) + self.keep(state))
        gate = torch.sigmoid(self.gate(state))
        return gate * torch.tanh(self.new(state)) + (1 - gate) * state


def test_hand_written_blocks() -> None:
    check(
        PreActivation(),
        IMAGE,
        1,
        2,
        names={"inner": {"conv1.weight"}, "last": {"conv2.weight"}, "last_norm": set()},
    )
    slots = check(
        Excited(),
        IMAGE,
        1,
        2,
        names={
            "inner": {"conv1.weight", "squeeze.weight", "excite.weight"},
            "last": {"conv2.weight"},
            "last_norm": {"gain", "shift"},
        },
    )
    assert next(slot for slot in slots if slot.name == "stem.weight").branch is None
    names = {
        "inner": {"f.0.weight", "g.0.weight", "before.weight"},
        "last": {"f.2.weight", "g.2.weight", "after.weight"},
        "last_norm": set(),
    }
    check(Parallel(), torch.randn(4, 3), 3, 2, names=names)
    none: dict[str, set[str]] = {"inner": set(), "last": set(), "last_norm": set()}
    check(Recurrent(), torch.randint(9, (2, 4)), 0, 0, names=none)


def test_a_block_that_is_called_repeatedly_counts_as_several_branches() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Linear(3, 8)
            self.block = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            for _ in range(5):
                x = x + self.block(x)
            return x

    names = {"inner": {"block.0.weight"}, "last": {"block.2.weight"}, "last_norm": set[str]()}
    check(Shared(), torch.randn(4, 3), 5, 2, names=names)


@pytest.mark.parametrize(
    "model", [torchvision.models.resnet18(), PreActivation(), Excited(), Parallel()]
)
def test_a_zero_last_layer_makes_the_branch_zero(model: nn.Module) -> None:
    """With zeros in its last layer, the other layers of a branch must have no effect."""
    batch = torch.randn(4, 3) if isinstance(model, Parallel) else IMAGE
    model.eval()
    slots = describe(model, batch)
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for slot in slots:
            if slot.branch == "last":
                parameters[slot.name].zero_()
        before = model(batch)
        for slot in slots:
            if slot.branch == "inner":
                parameters[slot.name].normal_()
        assert torch.equal(model(batch), before)
        for slot in slots:
            if slot.branch is None and slot.category == "weight":
                parameters[slot.name].mul_(1.7)
        assert not torch.equal(model(batch), before)
