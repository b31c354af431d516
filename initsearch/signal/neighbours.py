"""What a layer is compared with beside input and output: the layers around it, and those of its attention."""

import math
from collections.abc import Mapping, Sequence

from initsearch.layers import LayerCall
from initsearch.signal.verdicts import Word

#: The verdicts that pass from the layers on both sides to one between them.
_GROWING: tuple[Word, ...] = ("exploding", "vanishing")


def attention_gradients(
    calls: Sequence[LayerCall], gradients: Mapping[LayerCall, float]
) -> dict[LayerCall, float]:
    """For each query, key and value, the largest gradient norm among the layers that its attention reads.

    Args:
        calls: All calls of weight layers.
        gradients: The gradient norms that are known.
    """
    largest: dict[LayerCall, float] = {}
    for reader in calls:
        read = [
            call
            for call in calls
            if call.index in reader.sources and call.activation == "attention" and call in gradients
        ]
        # Of several readers, the nearest comes first.
        for call in read:
            largest.setdefault(call, max(gradients[each] for each in read))
    return largest


def enclosed(calls: Sequence[LayerCall], verdicts: Sequence[Word]) -> dict[LayerCall, Word]:
    """The healthy layers that lie between two layers that explode, or that vanish, by the paths of the model.

    Args:
        calls: All calls of weight layers, in execution order.
        verdicts: Their verdicts.
    """
    found: dict[LayerCall, Word] = {}
    for word in _GROWING:
        hit = {call.index for call, verdict in zip(calls, verdicts, strict=True) if verdict == word}
        behind_hit, before_hit = set[int](), set[int]()
        for call in calls:
            if call.sources & (hit | behind_hit):
                behind_hit.add(call.index)
        for call in reversed(calls):
            if call.index in hit | before_hit:
                before_hit |= call.sources
        for call, verdict in zip(calls, verdicts, strict=True):
            if verdict == "healthy" and call.index in behind_hit & before_hit:
                found[call] = word
    return found


def largest_of_outputs(calls: Sequence[LayerCall], gradients: Mapping[LayerCall, float]) -> float:
    """The largest gradient norm at an output layer; NaN if none is known."""
    heads = [gradients[call] for call in calls if call.is_output and call in gradients]
    return max(heads, default=math.nan)
