"""What is odd about the weights of a model: each finding in one sentence."""

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from torch import Tensor

from initsearch.audit.fit import fit
from initsearch.audit.identified import Identified
from initsearch.audit.units import BLOCK, Unit
from initsearch.errors import listed
from initsearch.initializers import Constant
from initsearch.layers import LayerCall, Slot, Trace

#: A layer is unlike its siblings if at least so many of them agree, and so large a share.
_LEAST_SIBLINGS = 3
_MOST_UNLIKE = 1 / 3
# A p-value below this: the layer's entries do not fit the distribution of its siblings.
_UNLIKE = 1e-6
# Fewer numbers may be equal by chance.
_LEAST_COPIED = 4
#: Residual branches from which their number matters.
_DEEP = 4
#: A truncation further out than this cuts less than .3 % of the normal.
_FAR_OUT = 3.0
# Of few entries, the median says little about the scale. The median of |N(0, 1)| is .6745.
_LEAST_FOR_MEDIAN = 100
_MEDIAN_OF_NORMAL = 0.6745
# Beyond so many standard deviations a normal has one entry in 10^15, and at most this share is an exception.
_FAR_ENTRY = 8.0
_MOST_FAR = 1e-2
# Activations that are zero at zero; after others a layer of zeros still passes a signal.
_ZERO_AT_ZERO = (
    "none", "relu", "relu6", "leaky_relu", "prelu", "elu", "selu", "celu", "gelu", "silu", "mish", "tanh",
    "hardswish", "hardtanh", "softsign", "sin",
)  # fmt: skip


def find_oddities(slots: Sequence[Slot], found: Sequence[Identified], trace: Trace) -> list[str]:
    """The findings, each in one sentence."""
    return [
        *_unlike_siblings(found),
        *_copies(found),
        *_useless_truncation(found),
        *_far_entries(found),
        *_zeros_in_a_row(trace.numbered, slots, found),
        *_unscaled_branches(trace, slots, found),
    ]


def fingerprint(value: Tensor) -> tuple[object, ...]:
    """The same for tensors of equal shape and equal values."""
    content = value.detach().cpu().double().contiguous().numpy()
    return tuple(value.shape), hashlib.blake2b(content.tobytes()).hexdigest()


def _unlike_siblings(found: Sequence[Identified]) -> Iterator[str]:
    families: dict[tuple[str, str, bool], list[Identified]] = defaultdict(list)
    for each in found:
        families[each.unit.sibling].append(each)
    for siblings in families.values():
        (usual, count), *others = Counter(each.rule for each in siblings).most_common()
        few = len(siblings) - count
        if not others or count < _LEAST_SIBLINGS or few > _MOST_UNLIKE * len(siblings):
            continue
        typical = next(each for each in siblings if each.rule == usual)
        for each in siblings:
            if each.rule != usual and _differs(each, typical):
                yield (
                    f"{each.unit.name} is unlike its siblings: {each.label}, but {count} of "
                    f"{len(siblings)} are {typical.label}"
                )


def _differs(each: Identified, typical: Identified) -> bool:
    """Whether a unit cannot be drawn like its typical sibling; units of other shapes may have other scales."""
    if each.unit.slot.shape != typical.unit.slot.shape:
        return True
    if typical.distribution is None or each.distribution is None:
        return True
    return fit(each.unit.values, typical.distribution, each.unit.resolution).p_value < _UNLIKE


def _copies(found: Sequence[Identified]) -> Iterator[str]:
    same: dict[tuple[object, ...], list[Unit]] = defaultdict(list)
    for each in found:
        # A table that is computed may be the same in all layers.
        drawn = each.unit.structure is None and each.distribution is not None
        if drawn and each.unit.sums.n >= _LEAST_COPIED:
            same[fingerprint(each.unit.view)].append(each.unit)
    copies: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for units in same.values():
        if len(units) > 1:
            blocks = [_block(unit.name) for unit in units]
            rests = {
                unit.name.removeprefix(block) for unit, block in zip(units, blocks, strict=True)
            }
            if len(rests) == 1 and all(blocks):
                copies[tuple(blocks)].append(rests.pop().removeprefix("."))
            else:
                copies[tuple(unit.name for unit in units)] = []
    for places, names in copies.items():
        inside = f" in {listed(names)}" if names else ""
        yield f"identical copies: {listed(places)} have the same values{inside}"


def _block(name: str) -> str:
    """A name up to its first index; empty if it has none."""
    found = BLOCK.match(name)
    return found[0] if found else ""


def _useless_truncation(found: Sequence[Identified]) -> Iterator[str]:
    far: dict[str, list[str]] = defaultdict(list)
    for each in found:
        law = each.distribution
        if law is not None and law.kind == "truncated_normal" and law.numbers[3] >= _FAR_OUT:
            share = math.erfc(law.numbers[3] / math.sqrt(2))
            far[f"{each.label} truncates {share:.1g} of the normal, which changes nothing"].append(
                each.unit.name
            )
    for sentence, names in far.items():
        yield f"{sentence}: {listed(names)}"


def _far_entries(found: Sequence[Identified]) -> Iterator[str]:
    """Single entries that no normal distribution draws.

    timm's `trunc_normal_` inverts the error function: where it draws -1, once in 2^24 entries, the entry is its
    bound of -2, whatever the scale.
    """
    for each in found:
        values = each.unit.values
        if each.family != "unknown" or values.size < _LEAST_FOR_MEDIAN:
            continue
        deviations = abs(values) / (float(np.median(abs(values))) / _MEDIAN_OF_NORMAL or 1.0)
        far = deviations > _FAR_ENTRY
        if 0 < far.sum() <= _MOST_FAR * values.size:
            yield (
                f"{each.unit.name} has {int(far.sum())} of {values.size} entries far out, the farthest at "
                f"{float(deviations.max()):.3g} standard deviations ({float(values[deviations.argmax()]):g})"
            )


def _zeros_in_a_row(
    calls: Sequence[LayerCall], slots: Sequence[Slot], found: Sequence[Identified]
) -> Iterator[str]:
    """Layers of zeros that read only layers of zeros: neither ever gets a gradient."""
    zero = {slot.name: True for slot in slots}
    for each in found:
        structure = each.unit.structure
        is_zero = isinstance(structure, Constant) and structure.value == 0
        zero[each.unit.slot.name] = zero[each.unit.slot.name] and is_zero
    silent = {call.index: all(zero.get(name, False) for name in call.parameters) for call in calls}
    weights = {call.index: zero.get(call.weight, False) for call in calls}
    by_index = {call.index: call for call in calls}
    for call in calls:
        before = [by_index[i] for i in sorted(call.sources) if i in by_index]
        if not before or call.repeat or not weights[call.index]:
            continue
        if all(silent[each.index] and _passes_zero(each) for each in before):
            names = listed(each.weight for each in before)
            yield (
                f"two zeros in a row: {names} and {call.weight} are zero, and each blocks the gradient of "
                "the other"
            )


def _passes_zero(call: LayerCall) -> bool:
    return call.activation in _ZERO_AT_ZERO


def _unscaled_branches(
    trace: Trace, slots: Sequence[Slot], found: Sequence[Identified]
) -> Iterator[str]:
    """The last layers of residual branches that are drawn like the inner ones, though no norm follows."""
    if not slots or slots[0].branches < _DEEP:
        return
    bare = [pair for pair in trace.joins if not pair[0].norm and not pair[1].norm]
    if 2 * len(bare) <= len(trace.joins):
        return
    labels: dict[str, dict[str, Identified]] = {"last": {}, "inner": {}}
    for each in found:
        slot = each.unit.slot
        if slot.category == "weight" and slot.branch and each.unit.structure is None:
            labels.setdefault(slot.branch, {}).setdefault(each.label, each)
    shared = [label for label in labels["last"] if label in labels["inner"]]
    for label in shared:
        ends = sorted(
            {
                each.unit.sibling[0]
                for each in found
                if each.label == label and each.unit.slot.branch == "last"
                and each.unit.slot.category == "weight"
            }
        )  # fmt: skip
        branches = slots[0].branches
        yield (
            f"residual projections are not scaled: {listed(ends)} are {label} as the other layers of their "
            f"branches, in a model of {branches} branches (GPT-2 divides theirs by sqrt({branches}))"
        )
