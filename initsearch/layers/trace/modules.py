"""What operations do not show: which module runs, and what a user's own module is.

A module is classified when it has run:

- A norm without submodules passes its input's lineage on, whatever operations it consists of.
- A module that owns a weight, and in which no weight operation was seen (it has a kernel of its own), is a
  layer.
- A user's module without submodules is an activation of its own, named by its class in lower case, if it
  works entry by entry and is not affine. This is tested on a synthetic tensor. If it consists of one known
  activation (times a factor, for example), it keeps that one's name.
- If a result is not known (a compiled function or a kernel made it) and has the shape of an input, it gets
  that input's lineage. A result of another shape may not depend on the input's values (rotary embeddings read
  only its type), and stays unknown.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from initsearch.layers.model.tensors import tensors
from initsearch.layers.trace.activations import class_name
from initsearch.layers.trace.lineage import Lineage, merged, normed
from initsearch.layers.trace.record import LayerCall
from initsearch.layers.trace.recorder import Recorder
from initsearch.layers.trace.shapes import refuse_meta


@dataclass
class _Run:
    """One run of a module: what it was when the module was entered.

    Attributes:
        module: The module.
        outer: The name of the module around it.
        inputs: The lineages of its arguments.
        calls: How many layers had been called.
        step: How many operations had been counted.
        pause: Ignores the module's operations until it is closed; None if they are followed.
    """

    module: nn.Module
    outer: str
    inputs: list[Lineage]
    calls: int
    step: int
    pause: ExitStack | None = None


class ModuleHooks:
    """Reports to a `Recorder` which modules run; a context around a model's forward pass.

    Args:
        recorder: Receives the reports.
        names: The modules with their names.
        weights: The names of the weights that a module itself owns, for those that own any.
        others: Likewise its other parameters.
    """

    def __init__(
        self,
        recorder: Recorder,
        names: Mapping[nn.Module, str],
        weights: Mapping[nn.Module, tuple[str, ...]],
        others: Mapping[nn.Module, tuple[str, ...]],
    ) -> None:
        self._recorder = recorder
        self._names = names
        self._weights = weights
        self._others = others
        self._runs: list[_Run] = []
        self._hooks = ExitStack()

    def __enter__(self) -> "ModuleHooks":
        for module in self._names:
            for handle in (
                module.register_forward_pre_hook(self._enter, prepend=True, with_kwargs=True),
                # Also if the module raises: the model may catch that.
                module.register_forward_hook(self._leave, with_kwargs=True, always_call=True),
            ):
                self._hooks.callback(handle.remove)
        return self

    def __exit__(self, *exception: object) -> None:
        self._hooks.close()

    def _enter(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        recorder = self._recorder
        inputs = recorder.lineages.of((args, kwargs))
        run = _Run(module, recorder.module_name, inputs, len(recorder.calls), recorder.step)
        if self._is_norm(module):
            recorder.next_step()
            recorder.use(self._others.get(module, ()))
            run.pause = ExitStack()
            run.pause.enter_context(recorder.pause())
        self._runs.append(run)
        recorder.module_name = self._names[module]

    def _leave(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        recorder = self._recorder
        run = self._runs.pop()
        if run.pause:
            run.pause.close()
        with recorder.pause():
            self._classify(run, args, kwargs, tensors(output))
        recorder.module_name = run.outer

    def _is_norm(self, module: nn.Module) -> bool:
        named = "norm" in type(module).__name__.lower()
        return named and not module._modules and module not in self._weights

    def _classify(self, run: _Run, args: Any, kwargs: Any, outputs: list[Tensor]) -> None:
        recorder, module = self._recorder, run.module
        if not outputs:
            return
        if run.pause:
            if run.inputs:
                norm = normed(run.inputs, self._others.get(module, ()))
                recorder.lineages.write(outputs, norm)
            return
        leaf = not any(child is not None for child in module._modules.values())
        own = self._weights.get(module, ())
        if leaf and own and not _used(recorder.calls[run.calls :], own):
            names = (*own, *self._others.get(module, ()))
            recorder.use(names)
            recorder.layer(type(module).__name__.lower(), names, run.inputs, outputs)
            return
        unknown = [tensor for tensor in outputs if recorder.lineages.get(tensor) is None]
        # What reads several tensors, such as experts and their router's choice, is no activation.
        if leaf and not own and not tensors((args[1:], kwargs)):
            self._classify_activation(run, args, outputs, bool(unknown))
        if not unknown:
            return
        shapes = [t.shape for t in tensors(args) if recorder.lineages.get(t) is not None]
        for tensor in unknown:
            if recorder.lineages.get(tensor) is None and tensor.shape in shapes:
                recorder.lineages.write([tensor], merged(run.inputs))

    def _classify_activation(
        self, run: _Run, args: Any, outputs: list[Tensor], unknown: bool
    ) -> None:
        recorder, module = self._recorder, run.module
        given = args[0] if args and isinstance(args[0], Tensor) else None
        if type(module).__module__.startswith("torch.nn.") or given is None or len(outputs) != 1:
            return
        pending = merged(run.inputs).pending if run.inputs else frozenset()
        if not pending or outputs[0].shape != given.shape:
            return
        lineage = recorder.lineages.get(outputs[0])
        escapes = unknown or (lineage is not None and bool(lineage.pending & pending))
        inside = recorder.uses_since(run.step, pending)
        refuse_meta(given)
        if (len(inside) == 1 and not escapes) or not is_activation(module, given):
            return
        recorder.forget(inside, pending)
        name = class_name(module)
        recorder.activating(name, run.inputs, given)
        recorder.activation(name, run.inputs, outputs, module)


def _used(calls: Sequence[LayerCall], names: Sequence[str]) -> bool:
    return any(name in call.parameters for call in calls for name in names)


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
