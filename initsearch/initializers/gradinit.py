"""GradInit: scales with which the first step of the optimizer leaves the smallest loss."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from initsearch.initializers.model_scaling import LEAST, LossAt, ModelScaling, scaled
from initsearch.initializers.registry import register

# The step of the optimizer that the scales are learned for, if `eta` is not given.
_ETA = {"sgd": 0.1, "adam": 0.001}


@register("gradinit")
@dataclass(frozen=True)
class GradInit(ModelScaling):
    """`base`, times the scale of each weight that makes the loss after one step of the optimizer smallest.

    With scales m, parameters t(m) and the gradient g of the loss on one half of the batch: minimize the loss of
    t(m) - eta A(g) on another half, subject to |g| <= gamma. A(g) is g for SGD, with the l2 norm, and sign(g)
    for Adam, with the l1 norm: to first order, a step lowers the loss by eta |g|^2 and eta |g|. At each of
    `steps` steps the scales move by Adam: down the gradient of |g| where the bound is exceeded, and else down
    the gradient of the loss after the step. They stay at or above 0.01 (Zhu et al. 2021, algorithm 1). The two
    halves share half of their examples; a batch of less than 8 is used whole.

    A plan fills all other parameters first, and `InitPlan.apply` needs a batch, with labels or with a loss of
    its own; see `initsearch.layers.learn_scales_`. `fill_` alone draws from `base`.

    Args:
        base: What is scaled: a name or a mapping of an initializer that draws from fans or the depth.
        steps: Steps on the scales, >= 1.
        lr: The learning rate of the scales, > 0.
        optimizer: What trains the model: `sgd` or `adam`.
        eta: Its step, > 0. Default: 0.1 for SGD, 0.001 for Adam.
        gamma: The bound on the norm of the gradient, > 0. Default: 1 for SGD; for Adam the root of the number
            of parameters, the largest l1 norm of a gradient with an l2 norm of 1.
    """

    formula: ClassVar[str] = "base · m, m minimizing L(θ − η A(g)) subject to ‖g‖ ≤ γ"
    source: ClassVar[str] = "Zhu et al. 2021 (GradInit), algorithm 1"
    needs: ClassVar[frozenset[str]] = frozenset({"batch", "loss"})
    examples: ClassVar[str] = "halves"

    steps: int = 100
    lr: float = 0.01
    optimizer: str = "sgd"
    eta: float | None = None
    gamma: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._integer("steps", 1)
        self._number("lr", above=0.0)
        self._choice("optimizer", _ETA)
        for name in ("eta", "gamma"):
            if getattr(self, name) is not None:
                self._number(name, above=0.0)

    def learned(
        self, weights: Sequence[Tensor], others: Sequence[Tensor], loss: LossAt
    ) -> list[float]:
        """See `ModelScaling`."""
        scales = torch.ones(len(weights), dtype=torch.float64, requires_grad=True)
        bound = self.gamma
        if bound is None:
            count = sum(each.numel() for each in (*weights, *others))
            bound = 1.0 if self.optimizer == "sgd" else math.sqrt(count)
        # The two objectives have gradients of unlike size: each has moments of its own.
        towards_loss, towards_bound = (torch.optim.Adam([scales], self.lr) for _ in range(2))
        for step in range(self.steps):
            values = [*scaled(weights, scales), *others]
            now = self._finite(loss(values, 2 * step), "the loss")
            gradients = torch.autograd.grad(now, values, create_graph=True, materialize_grads=True)
            norm = self._finite(self.norm(gradients), "the norm of the gradient")
            if norm > bound:
                objective, moved = norm, towards_bound
            else:
                after = loss(self.stepped(values, gradients), 2 * step + 1)
                objective, moved = self._finite(after, "the loss after a step"), towards_loss
            (scales.grad,) = torch.autograd.grad(objective, [scales])
            moved.step()
            with torch.no_grad():
                scales.clamp_(min=LEAST)
        found: list[float] = scales.detach().tolist()
        return found

    def norm(self, gradients: Sequence[Tensor]) -> Tensor:
        """The norm of a gradient, over all parameters."""
        order = 2 if self.optimizer == "sgd" else 1
        parts = [torch.linalg.vector_norm(each, order) for each in gradients]
        found: Tensor = torch.linalg.vector_norm(
            torch.stack([part.to(parts[0]) for part in parts]), order
        )
        return found

    def stepped(self, values: Sequence[Tensor], gradients: Sequence[Tensor]) -> list[Tensor]:
        """Parameters after one step of the optimizer."""
        eta = _ETA[self.optimizer] if self.eta is None else self.eta
        change = gradients if self.optimizer == "sgd" else [each.sign() for each in gradients]
        return [value - eta * each for value, each in zip(values, change, strict=True)]
