"""`diagnose`: activations and gradients on one batch at step zero, layer by layer."""

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from initsearch.layers import describe, preserved, unwrap
from initsearch.layers.loss import Loss, input_spread, samples_of, split_batch
from initsearch.plan import InitPlan
from initsearch.signal.exact import findings_of
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
    """Measure a model's activations and gradients on one batch, before any update.

    The model runs forward and backward once, in training mode as in the first step of training (a norm uses
    the batch's own statistics). Afterwards it is as before: parameters, gradients, buffers, mode, random
    state and hooks. The gradients of frozen parameters are shown too.

    Args:
        model: Any module, wrapped (`torch.compile`, `DataParallel`) or not.
        batch: An input of the model (a tensor, a list or tuple of arguments, a mapping of arguments by
            name), or a pair of inputs and labels, as a data loader yields it. It should be as large as in
            training: shares of dead units need samples.
        plan: A plan to initialize the model by for this measurement: a name, a mapping, a path or an
            `InitPlan`. Default: the weights that the model has. It keeps these in any case.
        seed: The seed of the plan's draws.
        loss: Called with the model's output, and with the labels if there are any; returns one number.
            Default: the cross-entropy of the output for labels of classes (the binary one for one logit per
            label), the mean squared error for floating labels, the output itself for a model that returns
            one number. Without labels it is sum(output * r) / samples with r standard normal from a fixed
            seed: the gradient at the output is then the same whatever the output is.
        allow_code: For a plan file: the Python code that it may name; see `InitPlan.load`.

    Returns:
        A row per call of a weight layer, in execution order, and the exact findings.

    Raises:
        ConfigError: The plan or the loss is not valid.
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
            targets = labels if isinstance(labels, Tensor) else None
            chosen.apply(model, seed=seed, batch=inputs, targets=targets, loss_batch=batch)
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
    """The pass with the gradients of trainable parameters only."""
    kept = {
        name: group if done.slots[name].requires_grad else (None,) * len(group)
        for name, group in done.gradients.items()
    }
    return replace(done, gradients=kept)
