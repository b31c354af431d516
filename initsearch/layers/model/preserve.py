"""Running a model without leaving a trace in it, in its gradients or in any random state."""

import sys
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from initsearch.layers.model.walk import unwrap
from initsearch.random_state import isolated_random_state

# Containers whose contents are put back; others (a user's own classes) keep what a forward does to
# them.
_CONTAINERS = (dict, OrderedDict, list, set)


@contextmanager
def preserved(model: nn.Module) -> Iterator[None]:
    """Everything of the model is afterwards as it was: whatever runs inside may run it in any way.

    Kept are parameters, buffers and other tensor attributes with their values, gradients,
    `requires_grad`, train and eval mode, hooks, and all plain attributes of all modules; the
    random states of torch, Python and NumPy. Inside, the random state is a fixed one, gradients
    start at None, and what would hide the model's operations is off: attention's fused path and
    `torch.compile`.
    """
    modules = list(unwrap(model).modules())
    attributes = [(module, dict(module.__dict__)) for module in modules]
    containers = [
        (value, value.copy())
        for _, held in attributes
        for value in held.values()
        if type(value) in _CONTAINERS
    ]
    tensors = _tensors(modules)
    values = [(tensor, tensor.detach().clone()) for tensor in tensors]
    gradients = [
        (tensor, tensor.requires_grad, tensor.grad) for tensor in tensors if tensor.is_leaf
    ]
    for tensor, _, _ in gradients:
        tensor.grad = None
    with ExitStack() as stack:
        devices = {tensor.device for tensor in tensors}
        stack.enter_context(isolated_random_state(seed=0, devices=devices))
        stack.enter_context(_plain_execution())
        try:
            yield
        finally:
            for module, held in attributes:
                module.__dict__.clear()
                module.__dict__.update(held)
            for container, content in containers:
                _refill(container, content)
            with torch.no_grad():
                for tensor, value in values:
                    # Only what did change is written: a write would spoil a graph that still needs
                    # it.
                    if not torch.equal(tensor, value):
                        tensor.copy_(value)
            for tensor, wanted, gradient in gradients:
                tensor.requires_grad_(wanted)
                tensor.grad = gradient


def _tensors(modules: list[nn.Module]) -> list[Tensor]:
    found: dict[int, Tensor] = {}
    for module in modules:
        plain = (value for value in module.__dict__.values() if isinstance(value, Tensor))
        for tensor in (*module._parameters.values(), *module._buffers.values(), *plain):
            if tensor is not None and not tensor.is_meta:
                found[id(tensor)] = tensor
    return list(found.values())


def _refill(container: Any, content: Any) -> None:
    if isinstance(container, list):
        container[:] = content
    else:
        container.clear()
        container.update(content)


@contextmanager
def _plain_execution() -> Iterator[None]:
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        if "torch._dynamo" in sys.modules:  # else nothing can be compiled, and its import is slow
            with torch.compiler.set_stance("force_eager"):
                yield
        else:
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
