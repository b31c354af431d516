"""Models that end their process, by dotted path: worker processes find them by this module's name."""

import os
import sys
import time

from torch import Tensor, nn


class LeavesWhenCalled(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))

    def forward(self, images: Tensor) -> Tensor:
        sys.exit(3)


class LeavesWhenBuilt(LeavesWhenCalled):
    def __init__(self) -> None:
        super().__init__()
        sys.exit(3)


class LeavesInTraining(LeavesWhenCalled):
    def forward(self, images: Tensor) -> Tensor:
        if len(images) == 16:  # as many as a training step takes
            sys.exit(3)
        return nn.Sequential.forward(self, images)


class HangsWhenCalled(LeavesWhenCalled):
    def forward(self, images: Tensor) -> Tensor:
        time.sleep(600)
        return nn.Sequential.forward(self, images)


class HangsWhenBuilt(LeavesWhenCalled):
    def __init__(self) -> None:
        super().__init__()
        time.sleep(600)


class ExitsWhenBuilt(LeavesWhenCalled):
    def __init__(self) -> None:
        super().__init__()
        os._exit(3)
