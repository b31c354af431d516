"""Published models: for some layers of each, what follows, as read from the model's source."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from initsearch.layers import describe

Row = tuple[str | None, str | None]


@pytest.fixture(autouse=True)
def seed() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def check(model: nn.Module, batch: Tensor | None, expected: Mapping[str, Row]) -> dict[str, Any]:
    """Assert (activation, role) of some layers, that exactly one layer is first, and that all are known."""
    slots = {slot.name: slot for slot in describe(model, batch)}
    layers = {name: slot for name, slot in slots.items() if slot.category == "weight"}
    assert {s.activation_source for s in layers.values()} == {"trace"}
    assert len(slots) == len(dict(model.named_parameters()))
    found = {}
    for name in expected:
        slot = layers.get(f"{name}.weight") or layers[name]
        found[name] = (slot.activation, slot.role)
    assert found == expected
    first = [name for name, slot in layers.items() if slot.role == "first"]
    assert [name.removesuffix(".weight") for name in first] == [next(iter(expected))]
    assert next(iter(layers)) == first[0]
    return layers


def image(side: int, channels: int = 3) -> Tensor:
    return torch.randn(2, channels, side, side)


def test_resnet18() -> None:
    # BasicBlock: conv1 bn1 relu conv2 bn2 (+ downsample(x)) relu.
    layers = check(
        torchvision.models.resnet18(),
        image(32),
        {
            "conv1": ("relu", "first"),
            "layer1.0.conv1": ("relu", "hidden"),
            "layer1.0.conv2": ("relu", "hidden"),
            "layer3.0.downsample.0": ("relu", "hidden"),
            "layer4.1.conv2": ("relu", "hidden"),
            "fc": ("none", "head"),
        },
    )
    names = list(layers)
    # In execution order: the shortcut's convolution runs after the branch's, as it is registered.
    at = [names.index(f"layer2.0.{part}.weight") for part in ("conv1", "conv2", "downsample.0")]
    assert at == sorted(at)


def test_vgg11() -> None:
    # features: conv relu pool ...; classifier: linear relu dropout, twice, linear. In place.
    model = torchvision.models.vgg11(init_weights=False)
    model.classifier[0] = nn.Linear(512 * 49, 64)  # the published width of 4096 only costs time
    model.classifier[3] = nn.Linear(64, 64)
    model.classifier[6] = nn.Linear(64, 10)
    check(
        model,
        image(32),
        {
            "features.0": ("relu", "first"),
            "features.3": ("relu", "hidden"),
            "features.18": ("relu", "hidden"),
            "classifier.0": ("relu", "hidden"),
            "classifier.3": ("relu", "hidden"),
            "classifier.6": ("none", "head"),
        },
    )


def test_densenet121() -> None:
    # norm relu conv, over the concatenation of all before: every convolution ends at a later ReLU, the
    # last ones at the functional one after norm5. Transitions pool behind their convolution.
    check(
        torchvision.models.densenet121(),
        image(32),
        {
            "features.conv0": ("relu", "first"),
            "features.denseblock1.denselayer1.conv1": ("relu", "hidden"),
            "features.denseblock1.denselayer1.conv2": ("relu", "hidden"),
            "features.transition1.conv": ("relu", "hidden"),
            "features.denseblock4.denselayer16.conv2": ("relu", "hidden"),
            "classifier": ("none", "head"),
        },
    )


@pytest.mark.parametrize("side", [32, 96])
def test_mobilenet_v3_small(side: int) -> None:
    # InvertedResidual: expand act, depthwise act, squeeze-excitation, linear projection. ReLU up to
    # features.3, Hardswish from features.4; the scales end in Hardsigmoid. features.1 has no expansion.
    check(
        torchvision.models.mobilenet_v3_small(),
        image(side),
        {
            "features.0.0": ("hardswish", "first"),
            "features.1.block.0.0": ("relu", "hidden"),
            "features.1.block.1.fc1": ("relu", "hidden"),
            "features.1.block.1.fc2": ("hardsigmoid", "hidden"),
            "features.1.block.2.0": ("none", "hidden"),
            "features.3.block.1.0": ("relu", "hidden"),
            "features.4.block.0.0": ("hardswish", "hidden"),
            "features.5.block.1.0": ("hardswish", "hidden"),
            "features.5.block.3.0": ("none", "hidden"),
            "features.12.0": ("hardswish", "hidden"),
            "classifier.0": ("hardswish", "hidden"),
            "classifier.3": ("none", "head"),
        },
    )


def test_convnext_tiny() -> None:
    # CNBlock: depthwise conv, LayerNorm, linear, GELU, linear, layer scale, add. Norms, no activations,
    # around the stem and the down-sampling convolutions.
    check(
        torchvision.models.convnext_tiny(),
        image(32),
        {
            "features.0.0": ("none", "first"),
            "features.1.0.block.0": ("none", "hidden"),
            "features.1.0.block.3": ("gelu", "hidden"),
            "features.1.0.block.5": ("none", "hidden"),
            "features.4.1": ("none", "hidden"),
            "classifier.2": ("none", "head"),
        },
    )


def test_vit_b_16() -> None:
    # Pre-norm blocks: attention, then linear GELU linear; the residual stream has no activation.
    model = torchvision.models.VisionTransformer(32, 16, 2, 4, 64, 128, num_classes=10)
    base = torchvision.models.vit_b_16(image_size=32)
    block = "encoder.layers.encoder_layer_1"
    expected: dict[str, Row] = {
        "conv_proj": ("none", "first"),
        f"{block}.self_attention.in_proj_weight": ("attention", "hidden"),
        f"{block}.self_attention.out_proj": ("none", "hidden"),
        f"{block}.mlp.0": ("gelu", "hidden"),
        f"{block}.mlp.3": ("none", "hidden"),
    }
    check(model, image(32), expected | {"heads.head": ("none", "head")})
    layers = check(base, image(32), expected | {"heads.head": ("none", "head")})
    assert sum(slot.activation == "attention" for slot in layers.values()) == 12


def test_googlenet() -> None:
    # BasicConv2d: conv bn F.relu. The auxiliary heads run only in training mode: conv, fc1 F.relu, fc2.
    layers = check(
        torchvision.models.googlenet(init_weights=False),
        image(32),
        {
            "conv1.conv": ("relu", "first"),
            "inception3a.branch1.conv": ("relu", "hidden"),
            "inception4b.branch3.1.conv": ("relu", "hidden"),
            "inception5b.branch4.1.conv": ("relu", "hidden"),
            "fc": ("none", "head"),
            "aux1.conv.conv": ("relu", "hidden"),
            "aux1.fc1": ("relu", "hidden"),
            "aux2.fc2": ("none", "head"),
        },
    )
    names = list(layers)
    assert names.index("fc.weight") < names.index("aux1.fc2.weight")


@pytest.mark.parametrize(
    ("name", "settings", "expected"),
    [
        (
            "vit_tiny_patch16_224",
            {"img_size": 32, "depth": 2},
            {
                "patch_embed.proj": ("none", "first"),
                "blocks.1.attn.qkv": ("attention", "hidden"),
                "blocks.1.attn.proj": ("none", "hidden"),
                "blocks.1.mlp.fc1": ("gelu", "hidden"),
                "blocks.1.mlp.fc2": ("none", "hidden"),
                "head": ("none", "head"),
            },
        ),
        (
            "mixer_s32_224",
            {"img_size": 64},
            {
                "stem.proj": ("none", "first"),
                "blocks.0.mlp_tokens.fc1": ("gelu", "hidden"),
                "blocks.0.mlp_channels.fc1": ("gelu", "hidden"),
                "blocks.0.mlp_channels.fc2": ("none", "hidden"),
                "head": ("none", "head"),
            },
        ),
        (
            # Deep stem of three convolutions; the shortcut pools before its convolution.
            "resnet10t",
            {},
            {
                "conv1.0": ("relu", "first"),
                "conv1.3": ("relu", "hidden"),
                "conv1.6": ("relu", "hidden"),
                "layer2.0.conv2": ("relu", "hidden"),
                "layer2.0.downsample.1": ("relu", "hidden"),
                "fc": ("none", "head"),
            },
        ),
        (
            # Norm and activation are one module here (BatchNormAct2d); the projection has none.
            "efficientnet_lite0",
            {},
            {
                "conv_stem": ("relu6", "first"),
                "blocks.1.0.conv_pw": ("relu6", "hidden"),
                "blocks.1.0.conv_dw": ("relu6", "hidden"),
                "blocks.1.0.conv_pwl": ("none", "hidden"),
                "conv_head": ("relu6", "hidden"),
                "classifier": ("none", "head"),
            },
        ),
        (
            # GluMlp: the halves of fc1 as x1 * silu(x2).
            "eva02_tiny_patch14_224",
            {"img_size": 28, "depth": 1, "num_classes": 10},
            {
                "patch_embed.proj": ("none", "first"),
                "blocks.0.attn.qkv": ("attention", "hidden"),
                "blocks.0.attn.proj": ("none", "hidden"),
                "blocks.0.mlp.fc1": ("swiglu", "hidden"),
                "blocks.0.mlp.fc2": ("none", "hidden"),
                "head": ("none", "head"),
            },
        ),
    ],
)
def test_timm(name: str, settings: dict[str, Any], expected: dict[str, Row]) -> None:
    side = settings.get("img_size", 64)
    check(timm.create_model(name, **settings), image(side), expected)
