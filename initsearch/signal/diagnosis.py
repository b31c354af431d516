"""`diagnose`: what a batch does at step zero, layer by layer."""

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from torch import nn

from initsearch.layers import describe, preserved, unwrap
from initsearch.plan import InitPlan
from initsearch.signal.exact import findings_of
from initsearch.signal.loss import Loss, input_spread, samples_of, split_batch
from initsearch.signal.observe import SignalWatch
from initsearch.signal.passing import Pass, run_pass
from initsearch.signal.report import SignalReport
from initsearch.signal.rows import layer_rows


def diagnose(
    model: nn.Module,
    batch: Any,
    plan: Any = None,
    seed: int = 0,
    loss: Loss | None = None,
    allow_code: Sequence[str] = (),
) -> SignalReport:
    """Look at a model's activations and gradients on one batch, before any update.

    The model runs forward and back once, in training mode (as in the first step of training; a norm
    uses the batch's own statistics), and is left as it was: parameters, gradients, buffers, mode,
    random state and hooks. Frozen parameters' gradients are told as well.

    Args:
        model: Any module, wrapped (`torch.compile`, `DataParallel`) or not.
        batch: A tensor, or whatever else the model is called with (a list or tuple of arguments, a
            mapping of arguments by name); or a pair of inputs and labels, as a data loader yields
            it. Take one as large as in training: shares of dead units need samples.
        plan: What the model is to be initialized by for this look: a name, a mapping, a path or an
            `InitPlan`. None: its weights as they are. Either way it keeps the weights it has.
        seed: The seed of the plan's draws.
        loss: Called with the model's output, and with the labels if there are any; returns one
            number. Default: with labels of classes the cross-entropy of the output, with floating
            labels the mean squared error, without labels sum(output * r) / samples with r standard
            normal from a fixed seed (so that one and the same gradient comes in from above, whatever
            the output is); of a model that returns one number, that number.
        allow_code: For a plan file: the Python code that it may name; see `InitPlan.load`.

    Returns:
        A row per call of a weight layer, in execution order, and the exact findings.

    Raises:
        ConfigError: The plan or the loss is none.
        ModelError: The model fails on the batch, or has parameters that cannot be described.

    Example:
        >>> report = initsearch.diagnose(model, (x, y), plan="he_normal")
        >>> print(report)
        >>> report.plot().savefig("signal.png")
    """
    chosen = None if plan is None else InitPlan.from_spec(plan, allow_code)
    inputs, labels = split_batch(unwrap(model), batch)
    with ExitStack() as stack:
        stack.enter_context(preserved(model))
        if chosen is not None:
            chosen.apply(model, seed=seed, batch=inputs)
        slots = describe(model, inputs)
        for parameter in model.parameters():
            if parameter.is_floating_point() or parameter.is_complex():
                parameter.requires_grad_()
        watch = SignalWatch()
        done = run_pass(model, slots, inputs, labels, loss, watch)
        findings = findings_of(_trained(done), watch.broken)
        rows = layer_rows(done, watch.seen, findings, input_spread(inputs))
    return SignalReport(
        rows=rows,
        exact=findings,
        model=type(unwrap(model)).__name__,
        samples=samples_of(inputs),
        loss=done.loss_name,
        loss_value=done.loss,
        plan="" if chosen is None else _label(plan),
    )


def _label(plan: Any) -> str:
    if isinstance(plan, str | os.PathLike):
        return os.fspath(plan)
    return str(plan["name"]) if isinstance(plan, Mapping) and "name" in plan else "a plan"


def _trained(done: Pass) -> Pass:
    """The pass with the gradients of those parameters only that training will change."""
    kept = {
        name: group if done.slots[name].requires_grad else (None,) * len(group)
        for name, group in done.gradients.items()
    }
    return replace(done, gradients=kept)
