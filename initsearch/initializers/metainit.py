"""MetaInit: scales at which a step down the gradient changes the gradient least."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from initsearch.initializers.model_scaling import LEAST, LossAt, ModelScaling, scaled
from initsearch.initializers.registry import register

_EPSILON = 1e-5


def gradient_quotient(loss: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """The mean over all entries of |(g - Hg) / (g + e) - 1|, with gradient g and Hessian H of the loss.

    g - Hg is, to first order, the gradient after a step of size one down g: the quotient is zero if such a step
    leaves the gradient as it is. e is 1e-5 with the sign of g (Dauphin and Schoenholz 2019, equation 1). It can
    be differentiated.

    Args:
        loss: A scalar, with gradients.
        parameters: What it is differentiated by; entries that it does not depend on count as 1.
    """
    gradients = torch.autograd.grad(loss, parameters, create_graph=True, materialize_grads=True)
    # Hg is the gradient of |g|^2 / 2.
    half = torch.stack([each.square().sum().to(loss) for each in gradients]).sum() / 2
    products = torch.autograd.grad(half, parameters, create_graph=True, materialize_grads=True)
    total, count = torch.zeros_like(loss), 0
    for g, product in zip(gradients, products, strict=True):
        shift = torch.where(g.detach() >= 0, _EPSILON, -_EPSILON)
        total = total + ((g - product) / (g + shift) - 1).abs().sum().to(loss)
        count += g.numel()
    return total / count


@register("metainit")
@dataclass(frozen=True)
class MetaInit(ModelScaling):
    """`base`, times the scale of each weight that makes the gradient quotient smallest.

    The quotient (`gradient_quotient`) measures by how much the curvature changes the gradient within one step.
    It is taken over all trainable parameters, in evaluation mode, on inputs from N(0, 1) and labels that have
    nothing to do with them, which are drawn again at each step: no data are needed. The norm of each weight
    moves by signed gradient descent with momentum (Dauphin and Schoenholz 2019, algorithm 1), to no less than
    0.01 of what `base` drew. Inputs that are integers (tokens) are those of the batch.

    A plan fills all other parameters first; see `initsearch.layers.learn_scales_`. `fill_` alone draws from
    `base`.

    Args:
        base: What is scaled: a name or a mapping of an initializer that draws from fans or the depth.
        steps: Steps on the norms, >= 1.
        lr: The change of a norm in the first step, > 0.
        momentum: In [0, 1).
    """

    formula: ClassVar[str] = "base · m, m minimizing mean |(g − Hg)/g − 1|"
    source: ClassVar[str] = "Dauphin and Schoenholz 2019 (MetaInit), algorithm 1"
    needs: ClassVar[frozenset[str]] = frozenset({"loss"})
    examples: ClassVar[str] = "noise"

    steps: int = 500
    lr: float = 0.1
    momentum: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        self._integer("steps", 1)
        self._number("lr", above=0.0)
        self._number("momentum", at_least=0.0, below=1.0)

    def learned(
        self, weights: Sequence[Tensor], others: Sequence[Tensor], loss: LossAt
    ) -> list[float]:
        """See `ModelScaling`."""
        norms = torch.stack([torch.linalg.vector_norm(each).double().cpu() for each in weights])
        # A weight of zeros has no norm to change.
        norms = torch.where(norms > 0, norms, 1.0)
        scales = torch.ones(len(weights), dtype=torch.float64, requires_grad=True)
        velocity = torch.zeros_like(norms)
        for step in range(self.steps):
            values = [*scaled(weights, scales), *others]
            quotient = gradient_quotient(self._finite(loss(values, step), "the loss"), values)
            self._finite(quotient, "the gradient quotient")
            (slope,) = torch.autograd.grad(quotient, [scales])
            velocity = self.momentum * velocity - self.lr * slope.sign()
            with torch.no_grad():
                scales += velocity / norms
                velocity[scales < LEAST] = 0.0
                scales.clamp_(min=LEAST)
        found: list[float] = scales.detach().tolist()
        return found
