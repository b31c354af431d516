"""The passes that show how a model uses its parameters, until each weight layer was seen.

First the forward pass (of a large model with shapes alone, if that shows as much), then again in training mode
for layers that run only there. If some layers have still not run: a LightningModule's training step, which also
trains what `forward` leaves out (a decoder, a discriminator); then each part of the model by itself.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from initsearch.errors import ModelError
from initsearch.layers.model.kinds import nature_of
from initsearch.layers.model.walk import NamedParameter, unwrap
from initsearch.layers.roles import missing
from initsearch.layers.trace.forward import (
    trace_forward,
    trace_part,
    trace_shapes,
    trace_training_step,
)
from initsearch.layers.trace.record import Trace
from initsearch.layers.trace.shapes import shapes_suffice
from initsearch.layers.trace.training_step import has_training_step

# Few samples are cheap. One would be enough, but batch norm in training mode needs two.
_SAMPLES = 2


@dataclass(frozen=True)
class Seen:
    """What the passes have shown.

    Attributes:
        trace: Their traces, joined.
        reason: Why layers may be missing in it; empty if they are not used.
        notes: For parameters that were seen in a part by itself, by name.
    """

    trace: Trace
    reason: str = ""
    notes: Mapping[str, str] = field(default_factory=dict)


def see(
    model: nn.Module,
    named: Sequence[NamedParameter],
    batch: Any,
    training_batch: Callable[[], Any] | None,
) -> Seen:
    """Run a model as often as it needs to show all of its weight layers.

    Args:
        model: The model.
        named: Its parameters.
        batch: As for `describe`.
        training_batch: As for `describe`.

    Raises:
        ModelError: The model fails on the batch given, and nothing else shows its layers.
    """
    error: ModelError | None = None
    seen = Seen(Trace((), {}))
    try:
        seen = _forward(model, named, batch)
    except ModelError as failed:
        error, seen = failed, Seen(seen.trace, str(failed))
    if not missing(named, seen.trace):
        return seen
    if has_training_step(unwrap(model)):
        seen = _with_step(model, named, batch, training_batch, seen)
    if seen.trace.calls or (error and isinstance(error.__cause__, NotImplementedError)):
        seen = _with_parts(model, named, seen)
    if error is not None and batch is not None and not seen.trace.calls:
        raise error
    return seen


def _forward(model: nn.Module, named: Sequence[NamedParameter], batch: Any) -> Seen:
    if shapes_suffice(named, batch):
        shown = trace_shapes(model, named, batch, _SAMPLES)
        if shown is not None and not missing(named, shown):
            return Seen(shown)
    try:
        found = trace_forward(model, batch, samples=_SAMPLES, train=False, named=named)
    except ModelError as error:
        if isinstance(error.__cause__, NotImplementedError):
            raise
        try:  # some models run in training mode only
            return Seen(trace_forward(model, batch, samples=_SAMPLES, train=True, named=named))
        except ModelError:
            raise error from error.__cause__
    if not missing(named, found):
        return Seen(found)
    try:
        more = trace_forward(model, batch, samples=_SAMPLES, train=True, named=named)
    except ModelError as error:
        return Seen(found, f"in training mode {error}")
    return Seen(_with_rest(found, more))


def _with_rest(found: Trace, more: Trace) -> Trace:
    """A trace, with the layers that only another one of the same model has."""
    known = {name for call in found.calls for name in call.parameters}
    late = max(found.first_use.values(), default=0)
    calls = tuple(call for call in more.calls if call.weight not in known)
    order = {name: late + step for name, step in more.first_use.items()} | dict(found.first_use)
    return Trace(found.calls + calls, order, found.joins, {**more.combined, **found.combined})


def _with_step(
    model: nn.Module,
    named: Sequence[NamedParameter],
    batch: Any,
    training_batch: Callable[[], Any] | None,
    seen: Seen,
) -> Seen:
    """What the training step shows, if that is more, and the rest of what was seen before."""
    if batch is None and training_batch is None:
        if seen.reason:
            return seen
        reason = "forward does not run it; pass a batch of the training data for training_step"
        return replace(seen, reason=reason)
    given = batch
    try:
        given = batch if batch is not None or training_batch is None else training_batch()
        found = trace_training_step(model, named, given, _SAMPLES)
    except ModelError as error:
        if batch is not None:
            return replace(seen, reason=seen.reason or str(error))
        # With data of its own, the step is what should have run: its failure is the reason.
        return _with_forward(model, named, given, replace(seen, reason=str(error)))
    if _reached(named, found) <= _reached(named, seen.trace):
        return seen
    return Seen(_with_rest(found, seen.trace))


def _with_forward(
    model: nn.Module, named: Sequence[NamedParameter], given: Any, seen: Seen
) -> Seen:
    """What forward shows on a batch of the training data, where the guessed input and the step failed."""
    if given is None or seen.trace.calls:
        return seen
    try:
        found = _forward(model, named, given)
    except ModelError:
        return seen
    return replace(
        found, reason=found.reason or ("" if not missing(named, found.trace) else seen.reason)
    )


def _with_parts(model: nn.Module, named: Sequence[NamedParameter], seen: Seen) -> Seen:
    """What modules show by themselves that no pass has reached, the outermost ones that run."""
    trace, notes = seen.trace, dict(seen.notes)
    waiting = [_child("", key) for key in unwrap(model)._modules]
    while waiting:
        name = waiting.pop(0)
        inside = [
            parameter
            for parameter in named
            if any(site.name.startswith(f"{name}.") for site in parameter.sites)
        ]
        layers = {
            each.sites[0].module_name
            for each in inside
            if nature_of(each.sites[0]).category == "weight"
        }
        if not missing(inside, trace) or layers == {name}:
            continue
        alone = len(layers) > 1 and not _reached(inside, trace)
        found = trace_part(model, named, name) if alone else None
        if found is None:
            module = unwrap(model).get_submodule(name)
            waiting[:0] = [_child(name, key) for key in unwrap(module)._modules]
            continue
        trace = trace.joined(found)
        for call in found.calls:
            notes.update(dict.fromkeys(call.parameters, f"seen in {name} by itself"))
    return Seen(trace, seen.reason, notes)


def _child(name: str, key: str) -> str:
    return f"{name}.{key}" if name else key


def _reached(named: Sequence[NamedParameter], found: Trace) -> set[str]:
    """The weights that a trace has seen in a layer."""
    called = {name for call in found.calls for name in call.parameters}
    return {
        parameter.name
        for parameter in named
        if parameter.name in called and nature_of(parameter.sites[0]).category == "weight"
    }
