"""Running a model without leaving a trace in it, in its gradients or in any random state."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from initsearch.layers.model.snapshot import Snapshot
from initsearch.layers.model.walk import unwrap
from initsearch.random_state import isolated_random_state


@contextmanager
def preserved(model: nn.Module) -> Iterator[None]:
    """Run a model in any way, and leave everything of it as it was.

    Restored are parameters, buffers and other tensors with their values and shapes, gradients,
    `requires_grad`, train and eval mode, hooks, all attributes of all modules with what they hold (see
    `Snapshot`), the model's own random generators, and the global random states of torch, Python and
    NumPy. Inside, the global random states are fixed ones, gradients start at None, and what would hide
    the model's operations is off: attention's fused path and `torch.compile`.
    """
    snapshot = Snapshot(unwrap(model).modules())
    devices = {tensor.device for tensor in snapshot.tensors}
    with ExitStack() as stack:
        stack.enter_context(
            isolated_random_state(seed=0, devices=devices, generators=snapshot.generators)
        )
        stack.enter_context(_plain_execution())
        # Innermost, values are restored first: a gradient must have its tensor's shape.
        stack.enter_context(_without_gradients(snapshot.tensors))
        try:
            yield
        finally:
            snapshot.restore()


@contextmanager
def _without_gradients(tensors: list[Tensor]) -> Iterator[None]:
    held = [(tensor, tensor.requires_grad, tensor.grad) for tensor in tensors if tensor.is_leaf]
    for tensor, _, _ in held:
        tensor.grad = None
    try:
        yield
    finally:
        for tensor, wanted, gradient in held:
            if not tensor.is_leaf:  # something that depends on a parameter was added in place
                tensor.detach_()
            tensor.requires_grad_(wanted)
            tensor.grad = gradient


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
