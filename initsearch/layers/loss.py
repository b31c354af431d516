"""The inputs and labels of a batch, and the loss of a model's output."""

import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from initsearch.errors import ConfigError, ModelError, quoted
from initsearch.layers.model.tensors import tensors

#: A loss of the model's output, or of the output and the labels if the batch has any.
Loss = Callable[..., Tensor]

#: A label that torch's cross-entropy leaves out.
IGNORED = -100
#: What is differentiated if there is neither a loss nor a label; its value means nothing.
PROJECTION = "a random projection of the output"


def split_batch(model: nn.Module, batch: Any) -> tuple[Any, Any]:
    """The inputs and the labels of a batch; the labels are None if it has none.

    A pair is inputs and labels, as a data loader yields it, if the model needs one argument, or if the first
    half is itself a tuple or list of all arguments that the model needs. Anything else is inputs.
    """
    if not isinstance(batch, list | tuple) or len(batch) != 2 or hasattr(batch, "_fields"):
        return batch, None
    first, second = batch
    needed = sum(
        parameter.default is parameter.empty
        for parameter in inspect.signature(model.forward).parameters.values()
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    )
    whole = isinstance(first, list | tuple) and len(first) >= needed
    if needed <= 1 or whole or isinstance(first, Mapping):
        return first, second
    return batch, None


def loss_name(loss: Loss | None, output: Any, labels: Any) -> str:
    """The name of the loss that `loss_of` computes."""
    if loss is not None:
        return str(getattr(loss, "__name__", None) or type(loss).__name__)
    given = next(_floating(output), None)
    if given is not None and given.ndim == 0:
        return "the model's own loss"
    if labels is None:
        return PROJECTION
    if isinstance(labels, Tensor) and given is not None:
        if labels.is_floating_point():
            return "mean squared error"
        if labels.numel() == given.numel():
            return "binary cross-entropy"
    return "cross-entropy"


def loss_of(loss: Loss | None, output: Any, labels: Any) -> Tensor:
    """One number to differentiate.

    Args:
        loss: Called as `loss(output)`, or `loss(output, labels)` if there are labels. None:

            - with labels of classes (integers), the cross-entropy of the first floating tensor of
              the output, classes along its second or its last axis; if the output is one logit per
              label, the binary cross-entropy; with floating labels of its shape, the mean squared
              error;
            - without labels, sum(output * r) / samples, with r standard normal from a fixed seed: the gradient
              at the output is the same whatever the output is, and only the network changes it;
            - if the output is one number (a model that computes its own loss), that number.
        output: What the model returned.
        labels: The second half of the batch, or None.

    Raises:
        ConfigError: The loss is not a function, or does not return one number.
        ModelError: The output and the labels do not fit the default losses.
    """
    given = next(_floating(output), None)
    if given is not None and isinstance(labels, Tensor):
        labels = labels.to(given.device)
    if loss is None:
        return _default(output, given, labels)
    if not callable(loss):
        raise ConfigError(
            f"loss must be a function of the output (and the labels, if the batch has any), but "
            f"got {quoted(loss)}: pass a function"
        )
    value = loss(output) if labels is None else loss(output, labels)
    if not isinstance(value, Tensor) or value.numel() != 1:
        got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else quoted(value)
        raise ConfigError(
            f"loss must return a tensor of one number, but returned {got}: take the mean or the sum"
        )
    return value.reshape(())


def _default(output: Any, given: Tensor | None, labels: Any) -> Tensor:
    """The loss of `given`, the first floating tensor of the output."""
    if given is None:
        raise ModelError(
            f"the model must return a floating tensor, but returned {type(output).__name__}: pass a "
            "loss that takes it"
        )
    if given.ndim == 0:
        return given.real if given.is_complex() else given
    if labels is None:
        return _projection(given)
    if isinstance(labels, Tensor):
        if labels.is_floating_point() and labels.numel() == given.numel():
            return F.mse_loss(given, labels.to(given.dtype).view_as(given))
        if not labels.is_floating_point():
            if labels.numel() == given.numel():
                return _binary(given, labels)
            if labels.shape == given.shape[:1] + given.shape[2:]:
                return _of_classes(given, labels)
            if labels.shape == given.shape[:-1]:
                return _of_classes(given.movedim(-1, 1), labels)
    shape = tuple(labels.shape) if isinstance(labels, Tensor) else type(labels).__name__
    raise ModelError(
        f"labels of shape {shape} must be classes or targets for an output of shape "
        f"{tuple(given.shape)}: pass a loss that takes both"
    )


def _binary(output: Tensor, labels: Tensor) -> Tensor:
    """The loss of one logit per label."""
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high > 1:
        raise ModelError(
            f"labels must be 0 or 1 where the model returns one number per label, but lie between {low} and "
            f"{high}: pass floats if they are targets of a regression, or a model with an output per class"
        )
    return F.binary_cross_entropy_with_logits(output, labels.to(output.dtype).view_as(output))


def _of_classes(output: Tensor, labels: Tensor) -> Tensor:
    """The cross-entropy; the classes are along the output's second axis."""
    classes = output.shape[1]
    counted = labels[labels != IGNORED]
    if counted.numel() and not 0 <= int(counted.min()) <= int(counted.max()) < classes:
        raise ModelError(
            f"labels must be classes from 0 to {classes - 1}, the outputs of the model, but lie between "
            f"{int(counted.min())} and {int(counted.max())}: correct the labels or the model's output"
        )
    return F.cross_entropy(output, labels.long())


def _projection(output: Tensor) -> Tensor:
    if output.is_complex():
        output = torch.view_as_real(output)
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(output.shape, generator=generator).to(output.device, output.dtype)
    samples = len(output) if output.ndim > 1 else 1
    return (output * drawn).sum() / max(samples, 1)


def samples_of(inputs: Any) -> int | None:
    """The number of samples in a batch: the length of its first tensor."""
    found = next((tensor for tensor in tensors(inputs) if tensor.ndim), None)
    return None if found is None else len(found)


def input_spread(inputs: Any) -> float:
    """How much the samples of the first floating input differ (see `Units.spread`); NaN if unknown."""
    given = next(_floating(inputs), None)
    if given is None or given.ndim == 0 or len(given) < 2:
        return math.nan
    values = torch.view_as_real(given) if given.is_complex() else given
    return math.sqrt(float(values.detach().double().var(dim=0, correction=0).mean()))


def _floating(value: Any) -> Iterator[Tensor]:
    for tensor in tensors(value):
        if (tensor.is_floating_point() or tensor.is_complex()) and tensor.numel():
            yield tensor
