"""Small nets for the engine's tests, named in jobs by their dotted path."""

import signal

import torch
from torch import Tensor, nn


class NormNet(nn.Module):
    """Convolution, batch norms with buffers, a scalar, a frozen parameter, and a layer that takes no part.

    No bias stands before a norm: its gradient is zero but for rounding, which Adam would blow up.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.hidden = nn.Linear(4 * 9, 12, bias=False)
        self.hidden_norm = nn.BatchNorm1d(12)
        self.scale = nn.Parameter(torch.tensor(0.7))
        self.frozen = nn.Parameter(torch.full((12,), 0.1), requires_grad=False)
        self.unused = nn.Linear(3, 3)
        self.head = nn.Linear(12, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.max_pool2d(torch.relu(self.norm(self.conv(x))), 2)
        x = torch.tanh(self.hidden_norm(self.hidden(x.flatten(1))))
        logits: Tensor = self.head(self.scale * x + self.frozen)
        return logits


class DropNet(nn.Module):
    """Two layers with dropout, which draws from the global generator."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Dropout(0.5), nn.Linear(32, num_classes)
        )

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.net(x)
        return logits


class BranchNet(DropNet):
    """Looks at values to decide what to compute, which cannot be batched over members."""

    def forward(self, x: Tensor) -> Tensor:
        logits = super().forward(x)
        return logits if float(logits.detach().abs().max()) > 1e9 else logits * 1.0


class InterruptedNet(DropNet):
    """Somebody presses Ctrl-C in the fifth training step."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training and torch.is_grad_enabled():
            self.steps = getattr(self, "steps", 0) + 1
            if self.steps == 5:
                signal.raise_signal(signal.SIGINT)
        return super().forward(x)


class PairNet(DropNet):
    """In training, returns a pair, as nets with an auxiliary head do."""

    def forward(self, x: Tensor) -> Tensor:
        logits = super().forward(x)
        return (logits, logits) if torch.is_grad_enabled() else logits  # type: ignore[return-value]
