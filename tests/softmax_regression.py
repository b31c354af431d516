"""Softmax regression on pixels, as the `_target_` of a model."""

import math

from torch import nn


def softmax_regression(input_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(input_shape), num_classes))
