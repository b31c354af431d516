"""The residual net for small images, with the norm as a choice."""

import math
from collections.abc import Callable
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from initsearch.errors import ConfigError
from initsearch.settings import one_of
from initsearch.tasks.models.activations import ActivationName, make_activation

STAGES = 3
GROUPS = 8  # usually divides the channels of the first stage; see `_group_norm`


def _group_norm(channels: int) -> nn.Module:
    """Up to 8 groups, as many as divide the channels."""
    return nn.GroupNorm(math.gcd(GROUPS, channels), channels)


def _layer_norm(channels: int) -> nn.Module:
    """One mean and variance over channels and pixels of an image: a single group."""
    return nn.GroupNorm(1, channels)


NORMS: dict[str, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm2d,
    "group": _group_norm,
    "layer": _layer_norm,
    "none": lambda channels: nn.Identity(),
}


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut without parameters; (N, C, H, W) to (N, C', H', W').

    Where channels or pixels change, the shortcut takes every second pixel and pads the new channels
    with zeros (option A of arXiv 1512.03385, section 3.3): every weight is in the branch.
    """

    def __init__(self, channels: int, out: int, stride: int, activation: str, norm: str) -> None:
        super().__init__()
        bias = norm == "none"  # before a norm, which has its own shift, a bias has no effect
        self.stride = stride
        self.new_channels = out - channels
        self.conv1 = nn.Conv2d(channels, out, 3, stride, padding=1, bias=bias)
        self.norm1 = NORMS[norm](out)
        self.act1 = make_activation(activation)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=bias)
        self.norm2 = NORMS[norm](out)
        self.act2 = make_activation(activation)

    def forward(self, x: Tensor) -> Tensor:
        """Activation of branch plus shortcut."""
        branch = self.norm2(self.conv2(self.act1(self.norm1(self.conv1(x)))))
        shortcut = x[:, :, :: self.stride, :: self.stride]
        if self.new_channels:
            shortcut = F.pad(shortcut, (0, 0, 0, 0, 0, self.new_channels))
        out: Tensor = self.act2(branch + shortcut)
        return out


class ResNet(nn.Module):
    """The CIFAR kind of residual net: 6n+2 layers of weights (arXiv 1512.03385, section 4.2).

    A 3x3 convolution, three stages of n blocks of two convolutions (the second and the third begin
    with stride 2 and double the channels), the mean over all pixels, a dense layer. Maps
    (N, C, H, W) to logits (N, num_classes), for images of any size.

    Args:
        input_shape: Channels, height and width of one image.
        num_classes: Width of the output.
        depth: Layers with weights: 8, 14, 20, 26, 32, …
        width: Channels of the first stage.
        activation: `relu`, `leaky_relu`, `elu`, `gelu`, `silu`, `selu`, `tanh`, `sigmoid` or
            `softplus`.
        norm: `batch`, `group` (up to 8 groups), `layer` (a single group) or `none`.

    Raises:
        ConfigError: A depth that is not 6n+2.
    """

    def __init__(
        self,
        input_shape: tuple[int, int, int],
        num_classes: int,
        depth: Annotated[int, Field(ge=8)] = 8,
        width: Annotated[int, Field(ge=1)] = 16,
        activation: ActivationName = "relu",
        norm: Annotated[str, one_of("model.norm", NORMS)] = "batch",
    ) -> None:
        super().__init__()
        per_stage, rest = divmod(depth - 2, 2 * STAGES)
        if rest:
            raise ConfigError(
                f"model.depth of resnet must be 6n+2 (n blocks of two convolutions in each of "
                f"three stages), but got {depth}: give {6 * per_stage + 2} or {6 * per_stage + 8}"
            )
        self.example_input_array = torch.zeros(2, *input_shape)
        self.stem = nn.Conv2d(input_shape[0], width, 3, padding=1, bias=norm == "none")
        self.stem_norm = NORMS[norm](width)
        self.stem_act = make_activation(activation)
        channels = width
        blocks: list[nn.Module] = []
        for stage in range(STAGES):
            for place in range(per_stage):
                out = width * 2**stage
                stride = 2 if stage > 0 and place == 0 else 1
                blocks.append(ResidualBlock(channels, out, stride, activation, norm))
                channels = out
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, num_classes) of images (N, C, H, W)."""
        stem = self.stem_act(self.stem_norm(self.stem(x)))
        logits: Tensor = self.head(self.blocks(stem).mean((2, 3)))
        return logits
