"""The rows of a report, computed from what was observed of a pass."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from initsearch.layers import LayerCall
from initsearch.signal.exact import ExactFinding
from initsearch.signal.flatness import Flatness
from initsearch.signal.layer_signal import LayerSignal
from initsearch.signal.measure import Units, norm_and_std, plain
from initsearch.signal.neighbours import attention_gradients, enclosed, largest_of_outputs
from initsearch.signal.observe import Seen, TensorSignal
from initsearch.signal.passing import Pass
from initsearch.signal.verdicts import (
    DECADES,
    Judged,
    Levels,
    judge,
    late_starters,
    waiting_for,
)

# No activation of its own follows: the activations are the layer's output.
_WITHOUT_ACTIVATION = (None, "none", "attention")
_RECURRENT = ("lstm", "gru", "rnn")


@dataclass(frozen=True)
class _View:
    """Which of the observed tensors are a layer's pre-activations and activations."""

    tensor: TensorSignal | None = None
    pre: Units | None = None
    post: Units | None = None
    flat: Flatness | None = None
    rank: tuple[float, int] | None = None
    note: str = ""

    @property
    def gradient(self) -> float | None:
        """The norm of the gradient with respect to it."""
        return self.tensor.gradient[0] if self.tensor and self.tensor.gradient else None

    @classmethod
    def of(cls, call: LayerCall, seen: Seen | None) -> "_View":
        if seen is None:
            return cls(note="its output is inside one operation: not observed")
        output = seen.output
        if seen.inside:
            note = "its pre-activations are inside one operation: the gradient is its output's"
            return cls(output, None, output.units, None, seen.rank, note)
        found = seen.activations.get(call.activation or "")
        if found is not None:
            return cls(found.before, found.before.units, found.after, found.flat, found.rank)
        if call.activation in _WITHOUT_ACTIVATION:
            return cls(output, output.units, output.units, None, seen.rank)
        made_of = " and ".join(seen.activations)
        how = f" of {made_of}" if made_of else ""
        note = f"its {call.activation} is computed by hand{how}: the result is not observed"
        return cls(output, output.units, note=note)


def layer_rows(
    done: Pass,
    seen: Mapping[LayerCall, Seen],
    findings: Sequence[ExactFinding],
    spread: float,
) -> tuple[LayerSignal, ...]:
    """A row per call of a weight layer, in execution order.

    Args:
        done: The pass.
        seen: What was measured.
        findings: The findings of the exact checks.
        spread: How much the samples of the input differ; NaN if unknown.
    """
    calls = done.trace.calls
    views = {call: _View.of(call, seen.get(call)) for call in calls}
    judged = _judged(done, views, findings, spread)
    rows: list[LayerSignal] = []
    for number, call in enumerate(calls):
        behind = (views[each].gradient for each in calls[number + 1 :])
        below = next((gradient for gradient in behind if gradient is not None), None)
        rows.append(_row(done, call, views[call], seen.get(call), judged[call], below))
    return tuple(rows)


def _judged(
    done: Pass,
    views: Mapping[LayerCall, _View],
    findings: Sequence[ExactFinding],
    spread: float,
) -> dict[LayerCall, Judged]:
    """The verdict on each layer."""
    calls = done.trace.calls
    gradients = {call: v.gradient for call, v in views.items() if v.gradient is not None}
    output = largest_of_outputs(calls, gradients)
    attention = attention_gradients(calls, gradients)
    starters = late_starters(done, findings)

    def verdict_on(call: LayerCall, factor: float) -> Judged:
        view = views[call]
        units = view.pre or view.post
        # The same for every input: samples do not differ in what an embedding of positions gives.
        is_constant = call.operation == "embedding" and not call.reads_input
        if is_constant and units is not None and units.finite:
            units = replace(units, spread=math.nan)
        return judge(
            units=units,
            flat=view.flat,
            gradient=view.gradient,
            levels=Levels(spread, output, attention.get(call, math.nan), factor),
            waits=waiting_for(done, call, starters),
            finding=next((each for each in findings if each.where == call.weight), None),
        )

    judged = {call: verdict_on(call, DECADES) for call in calls}
    for call, word in enclosed(calls, [judged[call].verdict for call in calls]).items():
        closer = verdict_on(call, math.sqrt(DECADES))
        if closer.verdict == word:
            judged[call] = replace(closer, reason=f"{closer.reason}, between {word} layers")
    return judged


def _row(
    done: Pass,
    call: LayerCall,
    view: _View,
    seen: Seen | None,
    judged: Judged,
    below: float | None,
) -> LayerSignal:
    pre, post, flat, tensor = view.pre, view.post, view.flat, view.tensor
    units = pre or post
    notes = (judged.note, view.note, _shared(done, call))
    return LayerSignal(
        layer=_name(done, call),
        operation=call.operation,
        activation=call.activation or "",
        units=units.units if units else None,
        pre_mean=pre.mean if pre else None,
        pre_std=pre.std if pre else None,
        pre_spread=pre.spread if pre else None,
        pre_dead=pre.dead if pre else None,
        post_mean=post.mean if post else None,
        post_std=post.std if post else None,
        post_dead=post.dead if post else None,
        saturated=flat.saturated if flat else None,
        blocked=flat.blocked if flat else None,
        output_std=seen.output.units.std if seen and not seen.inside else None,
        weight_gradient=_weight_gradient(done, call),
        pre_gradient=view.gradient,
        gradient_std=tensor.gradient[1] if tensor and tensor.gradient else None,
        gradient_ratio=view.gradient / below if view.gradient is not None and below else None,
        effective_rank=view.rank[0] if view.rank else None,
        rank_limit=view.rank[1] if view.rank else None,
        verdict=judged.verdict,
        reason=judged.reason,
        note="; ".join(note for note in notes if note),
        histogram=tensor.histogram if tensor else None,
    )


def _name(done: Pass, call: LayerCall) -> str:
    slot = done.slots.get(call.weight)
    name = call.weight.removesuffix(".weight")
    if slot is not None and slot.kind in _RECURRENT and slot.module_name:
        name = slot.module_name
    return f"{name} ({call.repeat + 1})" if call.repeat else name


def _weight_gradient(done: Pass, call: LayerCall) -> float | None:
    """The norm over all weights that a call used; None if the loss depends on none of them."""
    norms = [
        norm_and_std(plain(gradient))[0]
        for slot in done.slots_of(call, "weight")
        for gradient in done.gradients[slot.name]
        if gradient is not None
    ]
    return math.hypot(*norms) if norms else None


def _shared(done: Pass, call: LayerCall) -> str:
    uses = len(done.trace.of(call.weight))
    return f"used {uses} times: its weight's gradient is the sum" if uses > 1 else ""
