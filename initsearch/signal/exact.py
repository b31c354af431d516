"""What can be known for certain before training: that an initialization cannot learn.

Signs that are merely bad (small gradients, small logits, look-alike samples) condemn good
initializations too: a zero first layer under tanh or sigmoid, a zero head, zeroed residual branches.
These three checks do not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from initsearch.layers import LayerCall, describe, unwrap
from initsearch.signal.loss import Loss, split_batch
from initsearch.signal.observe import FiniteWatch
from initsearch.signal.passing import Pass, run_pass
from initsearch.signal.symmetry import one_unit_layers

Check = Literal["non_finite", "no_gradient", "symmetric"]


@dataclass(frozen=True)
class ExactFinding:
    """A reason for which training cannot succeed.

    Attributes:
        check: Which check found it; see `exact_checks`.
        where: The layer or parameter; empty where it is the model as a whole.
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
    """Check whether a model, as it is initialized, cannot be trained; it is left as it was.

    One pass forward and back in training mode, and comparisons of weights: cheap enough for every
    candidate of a search. The checks are:

    - `non_finite`: the loss, an entry of the output or a gradient is NaN or infinite. (Of an
      output's entries only NaN counts: a model may mask logits with -inf.) The first update makes
      every weight NaN.
    - `no_gradient`: every trainable parameter's gradient is exactly zero, or only the bias of an
      output layer has one. No update but the bias's ever comes; the output cannot depend on the
      input more than it does.
    - `symmetric`: all units of a hidden layer are one and the same unit, in incoming weights, bias
      and outgoing weights, and in the gradients of these, and no path leads around the layer. Equal
      units with equal gradients stay equal under any optimizer that works entry by entry, so that
      the layer has a width of one for good. Equal incoming weights alone do not count (a zero first
      layer below random weights learns), nor equal outgoing ones (a zero head), nor both where a
      shortcut leads past the layer (zeroed residual branches, Fixup) or where dropout gives the
      units gradients of their own. Judged are plain weights of dense and convolutional layers.

    An exact zero holds for this batch: take one that is not tiny, since a narrow ReLU net may be
    off for a few samples and not for others.

    Args:
        model: Any module, wrapped (`torch.compile`, `DataParallel`) or not.
        batch: Inputs, or a pair of inputs and labels; see `initsearch.diagnose`.
        loss: Called with the output, and the labels if there are any; for the default see
            `initsearch.diagnose`.

    Returns:
        What was found; empty if nothing speaks against the model.

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
            "weights, and so are their gradients: they stay one unit for good",
        )
        for call, units in one_unit_layers(done)
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
        return ExactFinding("no_gradient", "", "every gradient is zero: nothing can be learned")
    biases = {
        slot.name
        for call in done.trace.calls
        if call.is_output
        for slot in done.slots_of(call, "bias")
    }
    if biases.issuperset(moving):
        message = (
            f"every gradient is zero but that of the output's bias ({', '.join(moving)}): all that "
            "can be learned is one answer for every input"
        )
        return ExactFinding("no_gradient", "", message)
    return None
