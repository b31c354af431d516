"""The architectures, and any callable that builds an `nn.Module`."""

import copy
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
import yaml
from torch import Tensor, nn
from torch.nn import functional as F

from initsearch.errors import ConfigError, InitSearchError, ModelError
from initsearch.tasks.models import (
    MLP,
    CharGPT,
    CircularCNN,
    ConvNet,
    ModelSettings,
    PlainCNN,
    Recurrent,
    ResNet,
    Siren,
    SmallViT,
    list_activations,
    list_models,
)
from initsearch.tasks.models import build_model as build_from_settings

CONF = Path(__file__).resolve().parents[2] / "conf" / "model"
SHAPES = [(1, 8, 8), (1, 28, 28), (3, 32, 32), (2, 5, 9), (1, 1, 1)]
FUNCTIONS = {
    "relu": F.relu,
    "leaky_relu": F.leaky_relu,
    "elu": F.elu,
    "gelu": F.gelu,
    "silu": F.silu,
    "selu": F.selu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "softplus": F.softplus,
}
HERE = __name__
#: The shape of an input, its type and the places of an output, of models that take no images.
IMAGES: tuple[tuple[int, ...], torch.dtype, tuple[int, ...]] = ((1, 28, 28), torch.float32, ())
INPUTS = {
    "recurrent": ((6, 2), torch.float32, ()),
    "char_gpt": ((7,), torch.int64, (7,)),
    "siren": ((2,), torch.float32, ()),
}
#: Models of images, with an activation after each layer but the head.
PLAIN_MODELS = ["circular_cnn", "convnet", "mlp", "plain_cnn", "resnet"]


def settings(spec: Mapping[str, Any]) -> ModelSettings:
    """What a configuration's group `model` comes to."""
    return ModelSettings.parse("model", spec)


def build_model(spec: Mapping[str, Any], shape: tuple[int, int, int], classes: int) -> nn.Module:
    return build_from_settings(settings(spec), shape, classes)


def refused(kind: type[InitSearchError], spec: Mapping[str, Any], *words: str) -> None:
    with pytest.raises(kind) as error:
        build_model(spec, (1, 8, 8), 10)
    text = str(error.value)
    assert "\n" not in text
    for word in words:
        assert word in text


def weights(model: nn.Module) -> list[nn.Module]:
    return [m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d)]


# --- every architecture -----------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", PLAIN_MODELS)
def test_every_model_takes_every_shape_and_learns_in_every_parameter(
    name: str, shape: tuple[int, int, int]
) -> None:
    model = build_model({"name": name, "activation": "tanh"}, shape, 7)
    out = model(torch.randn(4, *shape))
    assert out.shape == (4, 7)
    out.square().sum().backward()
    for parameter in model.parameters():
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()


@pytest.mark.parametrize("activation", list_activations())
@pytest.mark.parametrize("name", PLAIN_MODELS)
def test_the_activation_is_the_one_named(name: str, activation: str) -> None:
    model = build_model({"name": name, "activation": activation}, (1, 8, 8), 10)
    found = [m for m in model.modules() if type(m).__module__ == "torch.nn.modules.activation"]
    assert len(found) == len(weights(model)) - 1  # one after each layer but the head
    x = torch.linspace(-4, 4, 33)
    for module in found:
        torch.testing.assert_close(module(x), FUNCTIONS[activation](x))


def test_the_activations_are_those_of_the_documentation() -> None:
    assert list_activations() == sorted(FUNCTIONS)


@pytest.mark.parametrize("name", PLAIN_MODELS)
def test_a_model_can_be_copied_pickled_and_traced(name: str) -> None:
    model = build_model({"name": name}, (1, 8, 8), 10).eval()
    x = torch.randn(3, 1, 8, 8)
    expected = model(x)
    torch.testing.assert_close(copy.deepcopy(model)(x), expected)
    torch.testing.assert_close(pickle.loads(pickle.dumps(model))(x), expected)
    torch.testing.assert_close(torch.fx.symbolic_trace(model)(x), expected)
    assert model.example_input_array.shape == (2, 1, 8, 8)
    assert "example_input_array" not in model.state_dict()


@pytest.mark.parametrize("name", list_models())
def test_models_are_plain_modules_usable_by_themselves(name: str) -> None:
    kinds = {
        "mlp": MLP,
        "convnet": ConvNet,
        "plain_cnn": PlainCNN,
        "resnet": ResNet,
        "circular_cnn": CircularCNN,
        "small_vit": SmallViT,
        "recurrent": Recurrent,
        "char_gpt": CharGPT,
        "siren": Siren,
    }
    shape, dtype, places = INPUTS.get(name, IMAGES)
    torch.manual_seed(0)
    alone = kinds[name](shape, 10)
    torch.manual_seed(0)
    built = build_from_settings(settings({"name": name}), shape, 10, dtype, places)
    assert type(built) is kinds[name]
    for key, value in alone.state_dict().items():
        assert torch.equal(value, built.state_dict()[key])


def test_there_is_a_config_file_per_model_with_every_setting_and_its_default() -> None:
    names = {path.stem for path in CONF.glob("*.yaml")}
    assert set(list_models()) < names
    for path in CONF.glob("*.yaml"):
        spec = yaml.safe_load(path.read_text())
        shape, dtype, places = INPUTS.get(path.stem, IMAGES)
        built = build_from_settings(settings(spec), shape, 10, dtype, places)
        if path.stem in list_models():
            assert settings(spec).architecture == path.stem
            bare = build_from_settings(settings({"name": path.stem}), shape, 10, dtype, places)
            assert str(built) == str(bare)


# --- each architecture ------------------------------------------------------------------------


def test_mlp_has_depth_hidden_layers_of_one_width() -> None:
    model = build_model({"name": "mlp", "depth": 3, "width": 20}, (1, 28, 28), 10)
    sizes = [(m.in_features, m.out_features) for m in weights(model)]
    assert sizes == [(784, 20), (20, 20), (20, 20), (20, 10)]


def test_convnet_of_width_64_is_the_net_of_the_post() -> None:
    """LTFN 6: 3x3 convolutions of 64, 64, pool, 128, 128, pool, and one dense layer."""
    model = build_model({"name": "convnet", "width": 64}, (1, 28, 28), 10)
    theirs = nn.Sequential(
        nn.Conv2d(1, 64, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(64, 64, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(64, 128, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(128, 128, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(128 * 7 * 7, 10),
    )
    for own, their in zip(weights(model), weights(theirs), strict=True):
        their.load_state_dict(own.state_dict())
    x = torch.randn(2, 1, 28, 28)
    torch.testing.assert_close(model(x), theirs(x))


def test_convnet_leaves_out_pools_that_nothing_would_be_left_of() -> None:
    model = build_model({"name": "convnet", "depth": 10, "width": 2}, (1, 8, 8), 10)
    assert len(weights(model)) == 11
    assert sum(isinstance(m, nn.MaxPool2d) for m in model.modules()) == 3
    assert model.head.in_features == 2 * 2**4


@pytest.mark.parametrize(
    ("depth", "channels"),
    [(3, [4, 8, 16]), (8, [4] * 3 + [8] * 3 + [16] * 2), (30, [4] * 10 + [8] * 10 + [16] * 10)],
)
def test_plain_cnn_has_three_stages_and_neither_norm_nor_skip(
    depth: int, channels: list[int]
) -> None:
    model = build_model({"name": "plain_cnn", "depth": depth, "width": 4}, (3, 32, 32), 10)
    convolutions = weights(model)[:-1]
    assert [c.out_channels for c in convolutions] == channels
    assert sum(c.stride == (2, 2) for c in convolutions) == 2
    assert {type(m) for m in model.features} == {nn.Conv2d, nn.ReLU}
    x = torch.randn(2, 3, 32, 32)
    out = x
    for convolution in convolutions:
        out = F.relu(convolution(out))
    torch.testing.assert_close(model(x), model.head(out.mean((2, 3))))
    assert out.shape[2:] == (8, 8)


@pytest.mark.parametrize("depth", [8, 14, 20])
def test_resnet_has_6n_plus_2_layers_of_weights(depth: int) -> None:
    model = build_model({"name": "resnet", "depth": depth, "norm": "none"}, (3, 32, 32), 10)
    assert len(weights(model)) == depth


def test_resnet_20_has_the_papers_number_of_parameters() -> None:
    """0.27 million (arXiv 1512.03385, table 6)."""
    model = build_model({"name": "resnet", "depth": 20}, (3, 32, 32), 10)
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(0.27e6, abs=0.005e6)


@pytest.mark.parametrize(
    ("norm", "kind", "groups"),
    [
        ("batch", nn.BatchNorm2d, None),
        ("group", nn.GroupNorm, 4),  # 8 does not divide 12 channels; 4 does
        ("layer", nn.GroupNorm, 1),
        ("none", nn.Identity, None),
    ],
)
def test_resnet_norms(norm: str, kind: type[nn.Module], groups: int | None) -> None:
    model = build_model({"name": "resnet", "norm": norm, "width": 12}, (1, 8, 8), 10)
    assert isinstance(model.stem_norm, kind)
    for convolution in weights(model)[:-1]:
        assert (convolution.bias is not None) == (norm == "none")
    if groups is not None:
        assert model.stem_norm.num_groups == groups


def test_resnet_with_empty_branches_is_its_shortcut() -> None:
    """With all branch weights zero: every second pixel, and zeros for the new channels."""
    model = build_model({"name": "resnet", "norm": "none", "width": 2}, (1, 8, 8), 3)
    for parameter in model.blocks.parameters():
        nn.init.zeros_(parameter)
    x = torch.randn(2, 1, 8, 8)
    stem = F.relu(model.stem(x))
    out = model.blocks(stem)
    assert torch.equal(out[:, :2], stem[:, :, ::4, ::4])
    assert out.shape == (2, 8, 2, 2)
    assert out[:, 2:].count_nonzero() == 0


# --- bad settings -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"name": "resnett"}, ["unknown model 'resnett'", "resnet"]),
        ({"name": "mlp", "activation": "rellu"}, ["unknown activation 'rellu'", "relu"]),
        ({"name": "mlp", "activation": None}, ["unknown activation None"]),
        ({"name": "mlp", "widht": 3}, ["setting of model 'widht'", "width"]),
        ({"name": "mlp", "num_classes": 3}, ["'num_classes'"]),
        ({"name": "mlp", "depth": 0}, ["model.depth", "greater than or equal to 1", "0"]),
        ({"name": "mlp", "width": "wide"}, ["model.width", "'wide'"]),
        ({"name": "convnet", "depth": 5}, ["model.depth", "even", "5", "4 or 6"]),
        ({"name": "convnet", "width": 0}, ["model.width", "0"]),
        ({"name": "plain_cnn", "depth": 2}, ["model.depth", "greater than or equal to 3", "2"]),
        ({"name": "resnet", "depth": 18}, ["model.depth", "6n+2", "18", "14 or 20"]),
        ({"name": "resnet", "depth": 2}, ["model.depth", "greater than or equal to 8", "2"]),
        ({"name": "resnet", "norm": "bacth"}, ["model.norm", "batch"]),
        ({}, ["name", "_target_"]),
        ({"name": None}, ["name", "_target_"]),
    ],
)
def test_a_bad_setting_is_named_with_its_value(spec: dict[str, Any], words: list[str]) -> None:
    refused(ConfigError, spec, *words)


# --- any _target_ -----------------------------------------------------------------------------


class Strict(nn.Module):
    """Takes just what the data decide, by the names that people give them."""

    def __init__(
        self, in_channels: int, num_classes: int, input_shape: tuple[int, int, int], width: int = 4
    ) -> None:
        super().__init__()
        assert input_shape[0] == in_channels
        self.body = nn.Sequential(
            nn.Conv2d(in_channels, width, 3), nn.BatchNorm2d(width), nn.Dropout(), nn.Flatten()
        )
        self.head = nn.LazyLinear(num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


def without_num_classes(**settings: Any) -> nn.Module:
    return PlainTen(**settings)


class PlainTen(nn.Sequential):
    """Ten outputs for any data."""

    def __init__(self, width: int = 5) -> None:
        super().__init__(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))


class TwoOutputs(nn.Module):
    """Returns more than the logits."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.layer(x.flatten(1)), x


def explodes() -> nn.Module:
    raise RuntimeError("first line\nsecond line")


def gives_a_string() -> str:
    return "not a module"


def test_what_the_data_decide_is_passed_where_the_callable_takes_it() -> None:
    model = build_model({"_target_": f"{HERE}.Strict", "width": 6}, (2, 8, 8), 7)
    assert (model.body[0].in_channels, model.body[0].out_channels) == (2, 6)
    assert model.head.out_features == 7


def test_a_callable_whose_keywords_end_somewhere_strict_still_builds() -> None:
    model = build_model({"_target_": f"{HERE}.without_num_classes", "width": 3}, (1, 8, 8), 10)
    assert model[1].out_features == 3


def test_a_target_of_this_room_is_the_model_by_name() -> None:
    spec = {"_target_": "initsearch.tasks.models.ConvNet", "width": 4}
    assert str(build_model(spec, (1, 8, 8), 10)) == str(
        build_model({"name": "convnet", "width": 4}, (1, 8, 8), 10)
    )
    refused(ConfigError, {**spec, "depth": 5}, "model.depth", "even")


def test_a_colour_model_takes_gray_images_by_repeating_their_channel() -> None:
    spec = {"_target_": "torchvision.models.resnet18"}
    model = build_model(spec, (1, 32, 32), 7).eval()
    plain = torchvision.models.resnet18(num_classes=7).eval()
    plain.load_state_dict(model.state_dict())  # the parameters keep torchvision's own names
    gray = torch.randn(2, 1, 32, 32)
    torch.testing.assert_close(model(gray), plain(gray.repeat(1, 3, 1, 1)))
    torch.testing.assert_close(pickle.loads(pickle.dumps(model))(gray), model(gray))


def test_a_colour_model_with_colour_images_is_left_as_it_is() -> None:
    model = build_model({"_target_": "torchvision.models.resnet18"}, (3, 32, 32), 10)
    assert not model._forward_pre_hooks


def test_checking_a_model_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(3)
    theirs = torchvision.models.resnet18(num_classes=10)
    after_theirs = torch.get_rng_state()
    torch.manual_seed(3)
    ours = build_model({"_target_": "torchvision.models.resnet18"}, (3, 32, 32), 10)
    assert torch.equal(torch.get_rng_state(), after_theirs)
    assert ours.training
    for key, value in theirs.state_dict().items():
        assert torch.equal(value, ours.state_dict()[key]), key
    torch.manual_seed(3)
    with_dropout = build_model({"_target_": f"{HERE}.Strict"}, (1, 8, 8), 10)
    assert with_dropout.body[1].num_batches_tracked == 0
    assert with_dropout.body[1].running_var.unique().tolist() == [1.0]


@pytest.mark.parametrize(
    ("target", "settings", "words"),
    [
        ("torchvision.models.resnet", {}, ["cannot be built"]),
        ("torchvision.models.resnet18", {"widht": 3}, ["cannot be built", "widht"]),
        (f"{HERE}.explodes", {}, ["RuntimeError: first line second line"]),
        (f"{HERE}.gives_a_string", {}, ["must build an nn.Module", "str"]),
        (f"{HERE}.PlainTen", {"width": -1}, ["cannot be built"]),
        (f"{HERE}.TwoOutputs", {}, ["must map (2, 1, 8, 8) to (2, 10)", "tuple"]),
        ("torchvision.models.resnet18", {"num_classes": 11}, ["(2, 10)", "(2, 11)"]),
        ("torchvision.models.alexnet", {}, ["fails on a batch of shape (2, 1, 8, 8)"]),
        ("torch.nn.Linear", {"in_features": 3, "out_features": 10}, ["fails on a batch"]),
    ],
)
def test_a_model_that_cannot_serve_says_why(
    target: str, settings: dict[str, Any], words: list[str]
) -> None:
    refused(ModelError, {"_target_": target, **settings}, *words, "model")


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("torchvision.models.resnet81", ["torchvision.models", "has no 'resnet81'", "correct"]),
        ("no_such_package.Net", ["no_such_package", "importable", "install"]),
        ("Net", ["'Net'", "importable"]),
    ],
)
def test_a_target_that_leads_nowhere_is_named(target: str, words: list[str]) -> None:
    refused(ConfigError, {"_target_": target}, "model._target_", *words)


def test_a_function_comes_before_a_module_of_the_same_path() -> None:
    model = build_model({"_target_": "torchvision.models.alexnet"}, (3, 64, 64), 10)
    assert type(model) is torchvision.models.AlexNet


def test_the_name_beside_a_target_is_a_label() -> None:
    target = "torchvision.models.resnet18"
    assert settings({"_target_": target}).architecture == "resnet18"
    assert settings({"_target_": target, "name": "mine"}).architecture == "mine"
    assert settings({"name": "mlp", "width": 3}).architecture == "mlp"
    assert settings({"name": "mlp", "width": 3, "depth": 2, "activation": "tanh"}).label == (
        "mlp-2x3-tanh"
    )
    assert build_model({"_target_": target, "name": "mine"}, (3, 32, 32), 10) is not None
