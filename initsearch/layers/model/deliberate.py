"""Values that a model has set on purpose, which a scheme for all weights must not overwrite.

They are:

- a parameter that is marked `_no_reinit`;
- a weight that is zero in all entries (a ControlNet's zero convolution, LoRA's second factor). If more than
  half of a model's weights are zero, they are no choice but memory that was never filled;
- a bias that its layer's default cannot have drawn: outside of its range, or one number other than zero for
  all units. A bias of zeros counts as a default.

What a plan has filled is not the model's own choice. `assign.mark_filled` keeps that on the parameter.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from initsearch.initializers import Initializer
from initsearch.layers.model.absent import whole
from initsearch.layers.model.slots import Slot
from initsearch.layers.model.stored import Stored

_MARK = "_no_reinit"
#: The attribute of a parameter that a plan has filled: how often the tensor had been written to by then.
FILLED = "_initsearch_filled"
# What a bound may be exceeded by in a narrow type.
_ROUNDING = 1.01


def why_deliberate(stored: Stored, category: str, default: Initializer | None) -> str:
    """Why a parameter's values seem to be set on purpose; empty if they do not.

    Args:
        stored: The parameter.
        category: Its category; see `Slot`.
        default: What the framework draws it from; `None` if that is not known.
    """
    held = [original for _, original in stored.originals]
    if any(getattr(original, _MARK, False) for original in held):
        return f"marked {_MARK}"
    if any(hasattr(original, FILLED) for original in held):
        return ""
    value = whole(stored.originals[0][1].detach())
    if category == "weight" and not value.is_sparse and _is_zero(value):
        return "all zero"
    if value.is_complex():
        value = torch.view_as_real(value)
    if category == "bias" and value.numel() and _is_unusual(value.float(), default):
        return "its values are not the default of its layer"
    return ""


def without_placeholders(slots: Sequence[Slot]) -> list[Slot]:
    """The slots; zeros are no choice in a model whose weights are mostly zero."""
    weights = [slot for slot in slots if slot.category == "weight"]
    zero = sum(slot.deliberate == "all zero" for slot in weights)
    if 2 * zero <= len(weights):
        return list(slots)
    return [
        slot if slot.deliberate.startswith("marked") else replace(slot, deliberate="")
        for slot in slots
    ]


def _is_zero(value: Tensor) -> bool:
    # The first entry of most weights says no at once.
    return bool(value.numel()) and not bool(value.flatten()[0]) and not bool(value.any())


def _is_unusual(value: Tensor, default: Initializer | None) -> bool:
    largest = float(value.abs().max())
    if not 0 < largest < torch.inf:
        return False
    if value.numel() > 1 and bool((value == value.flatten()[0]).all()):
        return True
    limit = getattr(default, "limit", None)
    if limit is not None:
        return largest > _ROUNDING * float(limit)
    constant = getattr(default, "value", None)
    return constant is not None and not bool((value == float(constant)).all())
