"""What has happened to a model's weights before: fresh, trained, or loaded.

Nothing in a module states it, but traces remain. A fit leaves gradients. torch counts the writes into each
tensor: one of a fresh layer was written once, by its own `reset_parameters`, and loading a state dict writes
every parameter and buffer again. A model's own initialization does that too, but it gives biases and norms a
constant or leaves them alone, where trained ones have all values different. A deep copy has no counts; there,
only norms whose weight and bias have both left their constants show that they were trained.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from initsearch.layers import FILLED, is_absent, unwrap

TRAINED, LOADED = "trained", "trained or loaded"
_NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm)
# torch makes these by deep copies of one layer: the biases of a fresh one were never written.
_COPIED = (nn.TransformerEncoder, nn.TransformerDecoder)
# A part of a model needs so many biases and norms that look trained; one may have been set on purpose.
_FEWEST = 2


def used_before(model: nn.Module) -> dict[str, str]:
    """The parameters that seem to have been trained or loaded, each with `TRAINED` or `LOADED`.

    A whole model is recognized, and so is each part (a backbone that was loaded, beside a new head). What a
    plan has filled, and nothing has changed since, counts as fresh.

    Args:
        model: Any module, wrapped or not; names are those without the wrapper.
    """
    found: dict[str, str] = {}
    core = unwrap(model)
    # A plan refuses what has no values here.
    if not any(is_lazy(each) or is_absent(each) for each in core.parameters()):
        _judge(core, "", False, found)
    return found


def _judge(module: nn.Module, name: str, copied: bool, found: dict[str, str]) -> None:
    """Add the parameters of a module that have a history, part by part."""
    copied = copied or isinstance(module, _COPIED)
    why = _history(module, copied, fewest=_FEWEST if name else 0)
    prefix = f"{name}." if name else ""
    if why:
        found |= {f"{prefix}{inner}": why for inner, _ in module.named_parameters()}
        return
    for key, parameter in module.named_parameters(recurse=False):
        if parameter.grad is not None:
            found[f"{prefix}{key}"] = TRAINED
    for key, child in module.named_children():
        _judge(child, f"{prefix}{key}", copied, found)


def _history(module: nn.Module, copied: bool, fewest: int) -> str:
    """What has happened to a module as a whole; empty if nothing did."""
    parameters = list(module.parameters())
    trainable = [each for each in parameters if each.requires_grad]
    if trainable and all(each.grad is not None for each in trainable):
        return TRAINED
    norms = [
        (each.weight, each.bias)
        for each in module.modules()
        if isinstance(each, _NORMS)
        and getattr(each, "weight", None) is not None
        and getattr(each, "bias", None) is not None
    ]
    moved = [all(map(_has_moved, pair)) for pair in norms]
    state = list(_state(module))
    if 2 * sum(moved) > len(moved) and not any(_is_as_made(*each, copied) for each in state):
        return LOADED
    if not parameters or not all(_was_written(*each, copied) for each in state):
        return ""
    if fewest == 0 and all(each.ndim > 1 for each in parameters):
        return LOADED  # nothing tells it from an initialization of the model's own: it is kept
    vectors = [
        each
        for each in parameters
        if each.ndim == 1 and each.numel() > 1 and each.is_floating_point()
    ]
    distinct = [each for each in vectors if _has_moved(each)]
    return LOADED if len(vectors) >= fewest and 2 * len(distinct) > len(vectors) else ""


def _state(module: nn.Module) -> Iterator[tuple[nn.Module, Tensor]]:
    """All that a state dict of a module holds, each tensor with the module that owns it."""
    for each in module.modules():
        for _, parameter in each.named_parameters(recurse=False):
            yield each, parameter
        for key, buffer in each.named_buffers(recurse=False):
            if key not in each._non_persistent_buffers_set:
                yield each, buffer


def _was_written(owner: nn.Module, tensor: Tensor, copied: bool) -> bool:
    """Whether a tensor was written since its layer was made, by anything but a plan."""
    if tensor.is_inference():  # which has no count
        return False
    return (
        tensor._version > _fresh_count(owner, copied)
        and getattr(tensor, FILLED, None) != tensor._version
    )


def _is_as_made(owner: nn.Module, tensor: Tensor, copied: bool) -> bool:
    """Whether a parameter is known to be as its layer has made it; in a deep copy, nothing is known."""
    if tensor.is_inference() or not isinstance(tensor, nn.Parameter):
        return False
    return tensor._version > 0 and not _was_written(owner, tensor, copied)


def _fresh_count(owner: nn.Module, copied: bool) -> int:
    """How often a tensor of a fresh layer was written."""
    resets = hasattr(owner, "reset_parameters") or hasattr(owner, "_reset_parameters")
    return 1 if resets and not copied else 0


def _has_moved(vector: Tensor) -> bool:
    """Whether most entries of a bias or a norm's weight have a value of their own."""
    return vector.numel() > 1 and 2 * len(torch.unique(vector.detach())) > vector.numel()
