"""`describe`: everything about a model's parameters that an initialization needs."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from initsearch.layers.model.absent import is_absent, standing_in
from initsearch.layers.model.deliberate import why_deliberate, without_placeholders
from initsearch.layers.model.kinds import nature_of
from initsearch.layers.model.projections import heads_of
from initsearch.layers.model.slots import Slot
from initsearch.layers.model.stored import Stored
from initsearch.layers.model.walk import NamedParameter, Site, parameters, unwrap
from initsearch.layers.passes import Seen, see
from initsearch.layers.roles import Position, from_calls, from_modules
from initsearch.layers.trace.branches import places_in, residual_branches
from initsearch.layers.trace.record import NONE, Trace
from initsearch.layers.usage import as_used

# What is done with a table of positions or tokens, and not with a weight.
_TABLES = frozenset({"add", "sub", "cat", "concat", "concatenate", "stack", "where", "setitem"})

_INDEX = re.compile(r"(?:^|\.)\d+(?=\.)")
_STACKS = ("encoder", "decoder")


def describe(
    model: nn.Module, batch: Any = None, training_batch: Callable[[], Any] | None = None
) -> list[Slot]:
    """The parameters of a model: a slot for each, in execution order.

    A forward pass (without gradients, in evaluation mode, on two samples) shows the order and what
    follows each layer. Further passes show what it does not run: in training mode (auxiliary heads), a
    LightningModule's training step, parts of the model by themselves. Parameters that no pass uses come
    last. The model and the global random state are left as they were; see `preserved`.

    Args:
        model: Any module, wrapped (`torch.compile`, `DataParallel`) or not.
        batch: An input of the model, in any of the forms that `trace_forward` takes. `None`: the model's
            `example_input_array`, or an input guessed from its first layer. If no guess fits, the
            activations are taken from the order of the modules as far as possible;
            `activation_source` and the notes say so.
        training_batch: Gives a batch for a LightningModule's training step. Called if no `batch` is given and
            `forward` does not run all layers.

    Raises:
        ModelError: The model fails on the batch given, or has parameters that cannot be described.
    """
    return describe_with_trace(model, batch, training_batch)[0]


def describe_with_trace(
    model: nn.Module,
    batch: Any = None,
    training_batch: Callable[[], Any] | None = None,
    *,
    without_data: bool = False,
) -> tuple[list[Slot], Seen]:
    """The slots of `describe`, and what the passes have shown, from which they come.

    Args:
        model: As for `describe`. If its parameters are sharded, stand-ins run in their place.
        batch: As for `describe`.
        training_batch: As for `describe`.
        without_data: Whether parameters may be on the meta device. Stand-ins run in their place too, and
            nothing is said about their values.
    """
    named = parameters(model, without_data=without_data)
    if not named:
        return [], Seen(Trace((), {}))
    stored = {each.name: each.sites[0].stored for each in named}
    if any(is_absent(held) for each in stored.values() for _, held in each.originals):
        with standing_in(unwrap(model)):
            slots, seen = describe_with_trace(model, batch, training_batch)
        return [_with_values(slot, stored[slot.name]) for slot in slots], seen
    seen = see(model, named, batch, training_batch)
    return _slots(model, named, seen), seen


def _with_values(slot: Slot, stored: Stored) -> Slot:
    """A slot that was described on a stand-in, with what the parameter's own values say."""
    held = stored.originals[0][1]
    if slot.deliberate.startswith("marked") or not is_absent(held):
        return slot
    why = "" if held.is_meta else why_deliberate(stored, slot.category, slot.torch_default)
    return replace(slot, deliberate=why)


def _slots(model: nn.Module, named: Sequence[NamedParameter], seen: Seen) -> list[Slot]:
    found, reason = seen.trace, seen.reason
    by_modules: Mapping[str, Position] | None = None
    slots: list[Slot] = []
    branches = residual_branches(found)
    in_branch = places_in(branches, found.calls)
    # The name of one layer shows a branch's stack.
    ends = (_stack(found.calls[branch.layers[0]].weight) for branch in branches)
    alike = Counter(_without_index(parameter.name) for parameter in named)
    stacks = tuple(sorted(Counter(filter(None, ends)).items()))
    for parameter in named:
        first, *rest = (_slot(site) for site in parameter.sites)
        calls = found.of(parameter.name)
        if calls:
            position = from_calls(calls)
            first = as_used(first, calls)
            if note := seen.notes.get(parameter.name):
                position = replace(position, note="; ".join(filter(None, (position.note, note))))
        elif first.category in ("weight", "bias") and parameter.name in found.first_use:
            first, position = _beside(first, found)
        elif first.category in ("weight", "bias") and found.calls and not reason:
            position = Position("hidden", note="not used in the forward pass")
        elif first.category in ("weight", "bias"):
            by_modules = by_modules if by_modules is not None else from_modules(model, named)
            position = by_modules.get(first.module_name, Position("hidden"))
            position = replace(position, note=f"from the order of modules: {reason}")
        else:
            position = Position()
        where = in_branch.get(first.name)
        stored = parameter.sites[0].stored
        slots.append(
            _placed(
                first,
                position,
                rest,
                branch=where and where.branch,
                branch_layers=where.branch_layers if where else first.branch_layers,
                branch_index=where.branch_index if where else None,
                branches=len(branches),
                stack=_stack(first.name),
                stack_branches=stacks,
                siblings=alike[_without_index(first.name)],
                deliberate=why_deliberate(stored, first.category, first.torch_default),
            )
        )
    slots = without_placeholders(slots)
    return [slots[i] for i in _order(slots, found)]


def _stack(name: str) -> str:
    """The stack of an encoder-decoder by the first word in a name that says so."""
    return next((word for word in name.split(".") if word in _STACKS), "")


def _without_index(name: str) -> str:
    """A name without its first index: that of its block."""
    return _INDEX.sub(".*", name, count=1)


def _beside(slot: Slot, found: Trace) -> tuple[Slot, Position]:
    """The slot and the position of a parameter that is used, but by no layer that the trace has seen.

    A bias has the position of its module's layer. A weight that is only looked up, stacked with data or added
    to it is a table, and no weight.
    """
    own = [call for call in found.calls if call.weight.rpartition(".")[0] == slot.module_name]
    if slot.category == "bias" and own:
        return slot, from_calls(own)
    if slot.kind == "other" and found.combined.get(slot.name, frozenset("?")) <= _TABLES:
        note = "used, but as the weight of no layer"
        return replace(slot, category="other", note=note), Position()
    return slot, Position("hidden", note="used, but what follows its layer is not known")


def _slot(site: Site) -> Slot:
    stored = site.stored
    value = stored.read()
    found = nature_of(site)
    notes = [found.note] if found.note else []
    if stored.by != "plain":
        notes.append(f"set through its {stored.how}")
    prefix = f"{site.module_name}." if site.module_name else ""
    return Slot(
        name=site.name,
        module_name=site.module_name,
        module_type=type(stored.module).__name__,
        kind=found.kind,
        category=found.category,
        shape=tuple(value.shape),
        dtype=value.dtype,
        requires_grad=any(original.requires_grad for _, original in stored.originals),
        fan_in=found.fan_in,
        fan_out=found.fan_out,
        parts=found.parts,
        torch_default=found.default,
        note="; ".join(notes),
        heads=heads_of(site.stored.module)
        or heads_of(site.ancestors[-1] if site.ancestors else None),
        stored_as=tuple(f"{prefix}{original}" for original, _ in stored.originals),
    )


def _placed(slot: Slot, position: Position, aliases: Sequence[Slot], **facts: Any) -> Slot:
    """A slot with its position, its other names and further fields."""
    if slot.category not in ("weight", "bias"):
        position = Position()
    if slot.kind == "lstm" and "_hr_" in slot.name:
        position = replace(position, activation=NONE)  # the projection comes after the gates
    notes = [note for note in (slot.note, position.note) if note]
    return replace(
        slot,
        role=position.role,
        activation=position.activation,
        activation_source=position.source,
        activation_function=position.function,
        tied_names=tuple(alias.name for alias in aliases),
        aliases=tuple(aliases),
        note="; ".join(notes),
        **facts,
    )


def _order(slots: Sequence[Slot], found: Trace) -> list[int]:
    """The order of slots: by the first use of any parameter of the module, then as registered."""
    last = max(found.first_use.values(), default=0) + 1
    steps: dict[str, int] = {}
    for slot in slots:
        step = found.first_use.get(slot.name, last)
        steps[slot.module_name] = min(step, steps.get(slot.module_name, last))
    keys = [
        # A module of unknown kind may use its parameters far apart.
        found.first_use.get(slot.name, last) if slot.kind == "other" else steps[slot.module_name]
        for slot in slots
    ]
    return sorted(range(len(slots)), key=lambda i: keys[i])
