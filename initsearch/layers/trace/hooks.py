"""What function calls do not tell: which module runs, and what a module of the user's own is.

Modules are judged when they have run:

- A norm without submodules passes its input's mark on, whatever operations it is made of.
- A module that owns a weight and in which no weight operation was seen (a kernel of its own) is a
  layer.
- A module of the user's without submodules is an activation of its own, called by its class in
  lower case, if it works entry by entry and is not affine (which is tried on a made-up tensor).
  Where it is but one known activation (with a factor, say), that one's name stands.
- If a result is not known (a compiled function or an own kernel made it) and has the shape of an
  input, that input's mark goes on. A result of another shape may be no function of the input's
  values (rotary embeddings read but its type), so that it stays unknown.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from initsearch.layers.model.tensors import tensors
from initsearch.layers.trace.activations import class_name
from initsearch.layers.trace.follow import FollowMode
from initsearch.layers.trace.lineage import Lineage, merged, normed


@dataclass
class _Scope:
    module: nn.Module
    outer: str
    states: list[Lineage]
    calls: int
    step: int
    opaque: ExitStack | None


class ModuleHooks:
    """Hooks on all modules of a model; use as a context around its forward pass.

    Args:
        mode: What follows the operations.
        names: The modules with their names.
        weights: The names of the weights that a module itself owns, for those that own any.
        others: Likewise its other parameters.
    """

    def __init__(
        self,
        mode: FollowMode,
        names: Mapping[nn.Module, str],
        weights: Mapping[nn.Module, tuple[str, ...]],
        others: Mapping[nn.Module, tuple[str, ...]],
    ) -> None:
        self._mode = mode
        self._names = names
        self._weights = weights
        self._others = others
        self._scopes: list[_Scope] = []
        self._hooks = ExitStack()

    def __enter__(self) -> "ModuleHooks":
        for module in self._names:
            for handle in (
                module.register_forward_pre_hook(self._enter, prepend=True, with_kwargs=True),
                # Also where the module raises: the model may go on without it.
                module.register_forward_hook(self._leave, with_kwargs=True, always_call=True),
            ):
                self._hooks.callback(handle.remove)
        return self

    def __exit__(self, *exception: object) -> None:
        self._hooks.close()

    def _enter(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        mode, ledger = self._mode, self._mode.ledger
        with mode.rest():
            states = mode.states((args, kwargs))
        scope = _Scope(module, ledger.module_name, states, len(ledger.calls), ledger.step, None)
        if self._is_norm(module):
            ledger.next_step()
            ledger.touch(self._others.get(module, ()))
            scope.opaque = ExitStack()
            scope.opaque.enter_context(mode.rest())
        self._scopes.append(scope)
        ledger.module_name = self._names[module]

    def _leave(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        mode, ledger = self._mode, self._mode.ledger
        scope = self._scopes.pop()
        ledger.module_name = scope.outer
        if scope.opaque:
            scope.opaque.close()
        with mode.rest():
            self._judge(scope, args, list(tensors(output)))

    def _is_norm(self, module: nn.Module) -> bool:
        named = "norm" in type(module).__name__.lower()
        return named and not module._modules and module not in self._weights

    def _judge(self, scope: _Scope, args: Any, outputs: list[Tensor]) -> None:
        mode, ledger, module = self._mode, self._mode.ledger, scope.module
        leaf = next(module.children(), None) is None
        if not outputs:
            return
        if scope.opaque:
            if scope.states:
                mode.mark(outputs, normed(scope.states, self._others.get(module, ())))
            return
        own = self._weights.get(module, ())
        used = {name for call in ledger.calls[scope.calls :] for name in call.parameters}
        if leaf and own and not used.intersection(own):
            names = (*own, *self._others.get(module, ()))
            ledger.module_name = self._names[module]
            call = ledger.start(type(module).__name__.lower(), names, scope.states)
            ledger.module_name = scope.outer
            ledger.touch(names)
            mode.mark(outputs, ledger.after(call))
            mode.produced(call, outputs[0])
            return
        unknown = [tensor for tensor in outputs if mode.state(tensor) is None]
        if leaf and not own:
            self._judge_activation(scope, args, outputs, bool(unknown))
        shapes = [tensor.shape for tensor in tensors(args) if mode.state(tensor) is not None]
        for tensor in unknown:
            if mode.state(tensor) is None and tensor.shape in shapes:
                mode.mark([tensor], merged(scope.states))

    def _judge_activation(
        self, scope: _Scope, args: Any, outputs: list[Tensor], unknown: bool
    ) -> None:
        mode, ledger, module = self._mode, self._mode.ledger, scope.module
        given = args[0] if args and isinstance(args[0], Tensor) else None
        if type(module).__module__.startswith("torch.nn.") or given is None or len(outputs) != 1:
            return
        pending = merged(scope.states).pending if scope.states else frozenset()
        if not pending or outputs[0].shape != given.shape:
            return
        state = mode.state(outputs[0])
        escapes = unknown or (state is not None and bool(state.pending & pending))
        uses = {
            id(use): use
            for index in pending
            for use in ledger.calls[index].uses
            if use.step > scope.step
        }
        if (len(uses) == 1 and not escapes) or not is_activation(module, given):
            return
        for index in pending:
            calls = ledger.calls[index]
            calls.uses[:] = [use for use in calls.uses if id(use) not in uses]
        name = class_name(module)
        mode.mark(outputs, ledger.activate(name, scope.states, module))
        mode.activating(scope.states, name, given)
        mode.activated(scope.states, name, outputs[0])


def is_activation(module: nn.Module, like: Tensor) -> bool:
    """Whether a module works entry by entry and is not affine, on a tensor like this one."""
    if not like.is_floating_point() or like.numel() < 2:
        return False
    with torch.no_grad():
        x = torch.linspace(-2.5, 3.0, like.numel(), device=like.device).to(like.dtype)
        x = x.view(like.shape)
        moved = x.clone()
        moved.view(-1)[0] += 1.0

        def of(value: Tensor) -> Tensor:
            return module.forward(value.clone()).double().view(-1)  # type: ignore[no-any-return]

        y = of(x)
        if y.shape != (x.numel(),) or not torch.equal(of(moved)[1:], y[1:]):
            return False
        at_zero = of(torch.zeros_like(x))
        bends = of(-x) + y - 2 * at_zero, of(2 * x) - 2 * y + at_zero
        size = float(y.abs().max()) + float(at_zero.abs().max())
        return any(float(bend.abs().max()) > 1e-3 * size for bend in bends)
