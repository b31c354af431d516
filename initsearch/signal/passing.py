"""One forward and backward pass through a model in training mode, and what it showed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from initsearch.errors import ConfigError, InitSearchError, ModelError, shortened
from initsearch.layers import LayerCall, Observer, Slot, Trace, tensors, trace_forward, unwrap
from initsearch.layers.loss import Loss, loss_name, loss_of


@dataclass(frozen=True, eq=False)
class Pass:
    """The results of one pass.

    Attributes:
        model: The model, for the values of its parameters.
        slots: Its parameters by name, in execution order.
        trace: The calls of its weight layers.
        loss: The value of the loss.
        loss_name: The name of the loss.
        finite: Whether the loss is finite and no entry of the output is NaN.
        gradients: By slot, the gradient of each tensor that stores it (several for a parametrized weight);
            None if the loss does not depend on the tensor or it is frozen.
    """

    model: nn.Module
    slots: Mapping[str, Slot]
    trace: Trace
    loss: float
    loss_name: str
    finite: bool
    gradients: Mapping[str, tuple[Tensor | None, ...]]

    def slots_of(self, call: LayerCall, category: str) -> list[Slot]:
        """The slots of one category (`weight`, `bias`) that a call used."""
        found = [self.slots[name] for name in call.parameters if name in self.slots]
        return [slot for slot in found if slot.category == category]


def run_pass(
    model: nn.Module,
    slots: list[Slot],
    inputs: Any,
    labels: Any,
    loss: Loss | None,
    observer: Observer,
) -> Pass:
    """Run a model forward and backward in training mode; it is left as it was.

    Args:
        model: Any module.
        slots: Its description.
        inputs: The arguments of the call.
        labels: The labels for the loss, or None.
        loss: See `loss_of`.
        observer: Receives layers and activations as they run.

    Raises:
        ConfigError: The loss is not a function of the output that returns one number.
        ModelError: The forward pass, the loss or the backward pass fails, or the loss depends on no
            trainable parameter.
    """
    held = {slot.name: _held(model, slot) for slot in slots}
    trainable = [tensor for group in held.values() for tensor in group if tensor.requires_grad]
    failures: list[Exception] = []
    values: list[tuple[float, str, bool, tuple[Tensor | None, ...]]] = []

    def differentiate(output: Any) -> None:
        # The trace would report an error in here as one of the forward pass.
        try:
            value = loss_of(loss, output, labels)
            if not value.requires_grad:
                raise ModelError(
                    "the loss must depend on a parameter that requires a gradient, but for "
                    f"{type(unwrap(model)).__name__} it does not: unfreeze one, or pass another loss"
                )
            nan = any(bool(t.detach().isnan().any()) for t in tensors(output))
            finite = bool(torch.isfinite(value.detach())) and not nan
            # Writes to no .grad: an optimizer that hooks on it cannot step.
            gradients = torch.autograd.grad(value, trainable, allow_unused=True)
            name = loss_name(loss, output, labels)
            values.append((float(value.detach()), name, finite, gradients))
        except Exception as error:  # noqa: BLE001 - a loss may raise anything; reported below
            failures.append(error)

    found = trace_forward(
        model, inputs, observer=observer, train=True, gradients=True, after=differentiate
    )
    for error in failures:
        if isinstance(error, InitSearchError):
            raise error
        failed = f"{type(error).__name__} ({shortened((str(error).splitlines() or [''])[0])})"
        if loss is None:
            raise ModelError(
                "the output must have a default loss that can be differentiated, but that failed with "
                f"{failed}: correct the model or the labels, or pass a loss"
            ) from error
        raise ConfigError(
            f"loss must be one that fits the model's output and the labels, but failed with {failed}: pass "
            "another loss"
        ) from error
    ((value, title, finite, flat),) = values
    by_tensor = {id(tensor): gradient for tensor, gradient in zip(trainable, flat, strict=True)}
    gradients = {
        name: tuple(by_tensor.get(id(tensor)) for tensor in group) for name, group in held.items()
    }
    return Pass(model, {slot.name: slot for slot in slots}, found, value, title, finite, gradients)


def _held(model: nn.Module, slot: Slot) -> tuple[nn.Parameter, ...]:
    """The parameters that store a slot's values."""
    module = unwrap(model)
    for part in slot.module_name.split(".") if slot.module_name else ():
        module = unwrap(module.get_submodule(part))
    prefix = f"{slot.module_name}." if slot.module_name else ""
    return tuple(module.get_parameter(name.removeprefix(prefix)) for name in slot.stored_as)
