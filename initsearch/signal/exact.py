"""Exact checks before training: three proofs that an initialization cannot learn.

Heuristics (small gradients, small logits, similar samples) also reject initializations that learn: a zero
first layer before tanh or sigmoid, a zero head, zeroed residual branches. These three checks do not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from initsearch.layers import LayerCall, describe, unwrap
from initsearch.layers.loss import Loss, split_batch
from initsearch.signal.observe import FiniteWatch
from initsearch.signal.passing import Pass, run_pass
from initsearch.signal.symmetry import identical_unit_layers

Check = Literal["non_finite", "no_gradient", "symmetric"]


@dataclass(frozen=True)
class ExactFinding:
    """A reason why training cannot succeed.

    Attributes:
        check: The check that found it; see `exact_checks`.
        where: The layer or parameter; empty for the model as a whole.
        message: One line.
    """

    check: Check
    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.check}: {self.message}"


def exact_checks(
    model: nn.Module, batch: Any, loss: Loss | None = None
) -> tuple[ExactFinding, ...]:
    """Check whether a model cannot be trained from its present weights, which are left as they are.

    It takes one forward and backward pass in training mode and comparisons of weights: cheap enough for
    every candidate of a search. The checks are:

    - `non_finite`: the loss, an entry of the output or a gradient is NaN or infinite. (In the output only NaN
      counts: a model may mask logits with -inf.) The first update makes every weight NaN.
    - `no_gradient`: the gradient of every trainable parameter is exactly zero, except for the bias of an
      output layer. Nothing but that bias is ever updated, so the output never depends more on the input than
      it does now.
    - `symmetric`: all units of a hidden layer are identical, in incoming weights, bias, outgoing weights and
      the gradients of these, and no path leads around the layer. Identical units with identical gradients
      stay identical under any optimizer that works entry by entry: the layer is like a single unit. Equal
      incoming weights alone do not count (a zero first layer before random weights learns), nor equal
      outgoing ones (a zero head), nor both if a shortcut leads around the layer (zeroed residual branches,
      Fixup) or if dropout gives the units different gradients. Only plain weights of dense and convolutional
      layers are checked.

    An exact zero holds for this batch only, so it should not be tiny: a narrow ReLU net may be off for a few
    samples and not for others.

    Args:
        model: Any module, wrapped (`torch.compile`, `DataParallel`) or not.
        batch: Inputs, or a pair of inputs and labels; see `initsearch.diagnose`.
        loss: Called with the output, and the labels if there are any; for the default see
            `initsearch.diagnose`.

    Returns:
        The findings; empty if all checks pass.

    Raises:
        ConfigError: The loss does not fit.
        ModelError: The model fails on the batch, or the loss depends on no trainable parameter.
    """
    inputs, labels = split_batch(unwrap(model), batch)
    watch = FiniteWatch()
    done = run_pass(model, describe(model, inputs), inputs, labels, loss, watch)
    return findings_of(done, watch.broken)


def findings_of(done: Pass, broken: Sequence[LayerCall]) -> tuple[ExactFinding, ...]:
    """The findings of a pass.

    Args:
        done: The pass.
        broken: Calls whose output was not finite.
    """
    found = _non_finite(done, broken) or _no_gradient(done)
    if found is not None:
        return (found,)
    return tuple(
        ExactFinding(
            "symmetric",
            call.weight,
            f"the {units} units of {call.weight} are equal in incoming weights, bias and outgoing "
            "weights, and so are their gradients: they stay identical",
        )
        for call, units in identical_unit_layers(done)
    )


def _non_finite(done: Pass, broken: Sequence[LayerCall]) -> ExactFinding | None:
    if not done.finite:
        first = next((call.weight for call in done.trace.calls if call in broken), "")
        place = f"first in the output of {first}" if first else "past the last layer"
        message = f"the forward pass is not finite ({place}; loss {done.loss:g})"
        return ExactFinding("non_finite", first, message)
    for name, gradients in reversed(list(done.gradients.items())):
        if any(not bool(g.isfinite().all()) for g in gradients if g is not None):
            message = f"the backward pass is not finite (first in the gradient of {name})"
            return ExactFinding("non_finite", name, message)
    return None


def _no_gradient(done: Pass) -> ExactFinding | None:
    moving = [
        name
        for name, gradients in done.gradients.items()
        if any(bool(g.count_nonzero()) for g in gradients if g is not None)
    ]
    if not moving:
        return ExactFinding("no_gradient", "", "every gradient is zero: the model cannot learn")
    biases = {
        slot.name
        for call in done.trace.calls
        if call.is_output
        for slot in done.slots_of(call, "bias")
    }
    if biases.issuperset(moving):
        message = (
            f"every gradient except that of the output's bias ({', '.join(moving)}) is zero: the model can "
            "only learn one output for all inputs"
        )
        return ExactFinding("no_gradient", "", message)
    return None
