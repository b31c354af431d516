"""The bias of a YOLO detector's last convolutions."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from initsearch.errors import ConfigError
from initsearch.initializers.base import Facts, Initializer
from initsearch.initializers.registry import register

# Four of a box and one of its objectness, before the classes.
_BOX, _PREDICTIONS = 4, 5
# So that one class alone has a finite logarithm, as in YOLOv5.
_SHIFT = 0.99999


@register("yolo_head")
@dataclass(frozen=True)
class YoloHead(Initializer):
    """The bias of a detection layer of `anchors` times (x, y, w, h, objectness, classes) outputs.

    Objectness begins at log(objects / cells), with (image_size / stride)^2 cells: some `objects` per image are
    expected at each scale. Each of c classes begins at log(.6 / (c - .99999)). Boxes begin at 0.

    Args:
        anchors: Predictions for each cell, >= 1.
        stride: Pixels per cell, > 0. Default: 8, 16, 32, ... by the last index in the layer's name, as the
            scales of YOLOv5's `Detect.m`; 8 without an index.
        image_size: The side of the training images in pixels, > 0.
        objects: Objects per image, > 0.

    Raises:
        ConfigError: From `fill_`, for another number of outputs.
    """

    formula: ClassVar[str] = "objectness log(8/(640/stride)²), c classes log(.6/(c − .99999))"
    source: ClassVar[str] = (
        "YOLOv5, `Detect._initialize_biases`; after Lin et al. 2017, section 4.1"
    )
    needs: ClassVar[frozenset[str]] = frozenset({"part"})

    anchors: int = 3
    stride: float | None = None
    image_size: float = 640.0
    objects: float = 8.0

    def __post_init__(self) -> None:
        self._integer("anchors", 1)
        if self.stride is not None:
            self._number("stride", above=0.0)
        self._number("image_size", above=0.0)
        self._number("objects", above=0.0)

    def resolved(self, facts: Facts) -> "YoloHead":
        """With the stride of the layer's scale, if it is not given."""
        if self.stride is not None:
            return self
        indices = [int(word) for word in facts.module_name.split(".") if word.isdigit()]
        return replace(self, stride=float(8 * 2 ** (indices[-1] if indices else 0)))

    def _draw_(
        self, out: Tensor, fan_in: float, fan_out: float, generator: torch.Generator | None
    ) -> None:
        size, rest = divmod(out.numel(), self.anchors)
        classes = size - _PREDICTIONS
        if rest or classes < 1:
            raise ConfigError(
                f"{self.name}: the bias must have {self.anchors} times 5 entries and one per class, but got "
                f"{out.numel()}: give anchors, or name the detection layers"
            )
        cells = (self.image_size / (self.stride or 8.0)) ** 2
        rows = torch.zeros(self.anchors, size, dtype=out.dtype, device=out.device)
        rows[:, _BOX] = math.log(self.objects / cells)
        rows[:, _PREDICTIONS:] = math.log(0.6 / (classes - _SHIFT))
        out.copy_(rows.view(out.shape))
