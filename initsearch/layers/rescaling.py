"""Scale weights by the outputs of their layers on a batch, in one forward pass.

Only single layers run more than once: after its weight is scaled, a module runs again on the input that it has
just received, and its new output goes to the layers after it. Each layer is therefore measured behind layers
that are already scaled, as with one pass through the whole model per layer and attempt, at the cost of about
two passes in total. A layer without bias needs one attempt, since its output is linear in its weight.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from initsearch.errors import InitSearchError, ModelError
from initsearch.initializers import LayerScaling
from initsearch.layers.model.assign import assign_
from initsearch.layers.model.preserve import preserved
from initsearch.layers.model.slots import Slot
from initsearch.layers.model.tensors import tensors
from initsearch.layers.model.walk import submodule, unwrap
from initsearch.layers.trace.forward import failure
from initsearch.layers.trace.inputs import Call, calls_for
from initsearch.layers.trace.training_step import has_training_step, quiet, step_call

# An attempt must bring the logarithm of the missing factor below this share of it; rounding does not.
_PROGRESS = 0.99
# Kinds with one weight per module, and an output that is proportional to it (up to a bias).
_SCALED = frozenset(
    ["linear", "bilinear", "embedding", "other"]
    + [f"conv{way}{rank}d" for way in ("", "_transpose") for rank in (1, 2, 3)]
)


def rescale_(
    model: nn.Module, batch: Any, scalings: Sequence[tuple[Slot, LayerScaling]]
) -> dict[str, str]:
    """Multiply weights until the outputs of their layers on a batch are as their initializers require.

    The model runs once without gradients, in training mode: norms use the statistics of the batch, as in
    the first step of training, and heads that exist only in training run too. If its forward does not run
    all layers, a LightningModule's training step runs as well. Apart from the weights the model is left as
    it was; see `preserved`.

    Rules for special cases:

    - A weight that is used more than once, or tied, is scaled at its first use in execution order.
    - A parametrized weight is set through the parametrization. It keeps its values if the output does not
      follow it (spectral_norm, weight standardization), or if the parametrization cannot be set.
    - A weight keeps its values if the output of its layer is constant or not finite.
    - Gates of recurrent layers and attention's query, key and value keep their values, since outputs are
      not proportional to them. Attention's output projection is scaled by the output of its attention
      module.
    - A weight keeps its values if no module that holds it is called: it is unused, or used by a function,
      or held by a module that contains other modules.
    - An attempt that does not bring the output at least 1% nearer to the target is undone, and is the
      last one.

    Args:
        model: The model that was described, already filled; wrapped or not.
        batch: An input of the model, in any of the forms that `trace_forward` takes. All of it is used.
        scalings: Slots of weights, each with its initializer.

    Returns:
        By the slot's name, a note on what was done, for a report.

    Raises:
        ModelError: The model fails on the batch.
    """
    core = unwrap(model)
    best: _Scaler | None = None
    first: Exception | None = None
    for function, call in _ways(core, batch):
        if best is not None and function is core:
            continue
        scaler = _Scaler(core)
        try:
            _run(core, function, call, scaler, scalings)
        except InitSearchError:
            raise
        except Exception as error:  # noqa: BLE001 - a model may raise anything; it is reported below
            first = first or error
            continue
        if best is None or len(scaler.seen) > len(best.seen):
            best = scaler
        if not scaler.waiting:
            break
    if best is None:
        raise failure(model, batch, first) from first
    for slot, _ in scalings:
        _multiply(core, slot, best.factors.get(slot.name, 1.0))
    return best.notes


def _ways(model: nn.Module, batch: Any) -> Iterator[tuple[Callable[..., Any], Call]]:
    """The ways to run a model on a batch: its forward, then a LightningModule's training step."""
    for call in calls_for(model, batch):
        yield model, call
    if has_training_step(model):
        step: Any = model.training_step
        yield step, step_call(model, batch)


def _run(
    model: nn.Module,
    function: Callable[..., Any],
    call: Call,
    scaler: "_Scaler",
    scalings: Sequence[tuple[Slot, LayerScaling]],
) -> None:
    """Run a model, or its training step, with hooks that scale its weights; it is left as it was."""
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    with preserved(model), torch.no_grad():
        for slot, scaling in scalings:
            found = [_module_of(model, each) for each in (slot, *slot.aliases)]
            modules = list(dict.fromkeys(module for module in found if module is not None))
            scaler.notes[slot.name] = (
                "not scaled: no module that holds it was called"
                if modules
                else "not scaled: its layer's output is not proportional to it"
                if slot.kind not in _SCALED
                else "not scaled: its layer is not a module of its own"
            )
            if modules:
                scaler.waiting.add(slot.name)
            for module in modules:
                # `preserved` removes the hooks.
                hook = scaler.hook(slot, scaling)
                module.register_forward_hook(hook, prepend=True, with_kwargs=True)
        model.train()
        quiet(model)
        moved = call.to(device)
        function(*moved.args, **moved.kwargs)


def _module_of(model: nn.Module, slot: Slot) -> nn.Module | None:
    """The module whose output shows a weight's scale."""
    if slot.kind not in _SCALED:
        return None
    module = submodule(model, slot.module_name)
    outer, _, name = slot.module_name.rpartition(".")
    if name == "out_proj":
        parent = submodule(model, outer)
        if isinstance(parent, nn.MultiheadAttention):
            return parent  # it reads the projection's weight without calling it
    return None if next(module.children(), None) is not None and slot.kind == "other" else module


class _Scaler:
    """Hooks that scale weights during a forward pass.

    Args:
        model: The model that runs.

    Attributes:
        factors: The factor of each weight, by slot name.
        notes: What was done, by slot name.
        seen: The slots whose modules have run.
        waiting: Those whose modules have not run yet.
    """

    def __init__(self, model: nn.Module) -> None:
        self.factors: dict[str, float] = {}
        self.notes: dict[str, str] = {}
        self._model = model
        self.seen: set[str] = set()
        self.waiting: set[str] = set()

    def hook(self, slot: Slot, scaling: LayerScaling) -> Any:
        """A forward hook that scales a weight at its module's first call."""

        def scale(module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
            if slot.name in self.seen:
                return None
            self.seen.add(slot.name)
            self.waiting.discard(slot.name)
            return self._settle(slot, scaling, module, args, kwargs, output)

        return scale

    def _settle(
        self,
        slot: Slot,
        scaling: LayerScaling,
        module: nn.Module,
        args: Any,
        kwargs: Any,
        output: Any,
    ) -> Any:
        variance = variance_of(output)
        factor = _factor(scaling, variance)
        total, used, why = 1.0, 0, ""
        while factor is not None and used < scaling.attempts():
            try:
                _multiply(self._model, slot, factor)
            except ModelError:
                why = "; its parametrization cannot be set to another scale"
                break
            again = module.forward(*args, **kwargs)
            after = variance_of(again)
            following = _factor(scaling, after)
            if not _usable(after) or (following and not _nearer(following, factor)):
                _multiply(self._model, slot, 1 / factor)
                why = "; its output does not follow its scale"
                break
            total, used = total * factor, used + 1
            output, variance, factor = again, after, following
        self.factors[slot.name] = total
        if not _usable(variance):
            self.notes[slot.name] = (
                "not scaled: its output is "
                f"{'constant' if variance == 0 else 'not finite'} on the batch"
            )
        else:
            done = (
                f"scaled by {total:.4g} in {used} attempt{'s'[: used != 1]}"
                if used
                else "not scaled"
            )
            self.notes[slot.name] = f"{done}: output variance {variance:.4g}{why}"
        return output


def _factor(scaling: LayerScaling, variance: float) -> float | None:
    return scaling.factor(variance) if _usable(variance) else None


def _usable(variance: float) -> bool:
    return 0 < variance < math.inf


def _nearer(factor: float, than: float) -> bool:
    return abs(math.log(factor)) < _PROGRESS * abs(math.log(than))


def _multiply(model: nn.Module, slot: Slot, factor: float) -> None:
    if factor != 1.0:
        assign_(model, slot, lambda view, fan_in, fan_out, part: view.mul_(factor))


def variance_of(output: Any) -> float:
    """The variance of all entries of a layer's output (the first tensor in it).

    Zero if it is constant up to rounding; nan if it has no entries, or is not of floating point.
    """
    found = next(iter(tensors(output)), None)
    if found is None or not found.numel() or not (found.is_floating_point() or found.is_complex()):
        return math.nan
    # Sums of entries narrower than float32 lose digits.
    values = found.to(torch.promote_types(found.dtype, torch.float32))
    scale = 1.0
    variance, mean = _moments(values)
    if not 1e-30 < variance < 1e30:  # near the limits of float32: measured at another scale
        scale = float(values.abs().max())
        if not 0 < scale < math.inf:
            return 0.0 if scale == 0 else math.nan
        variance, mean = _moments(values / scale)
    if variance <= (64 * torch.finfo(values.dtype).eps * mean) ** 2:
        return 0.0
    return variance * scale**2


def _moments(values: Tensor) -> tuple[float, float]:
    """The variance and the absolute mean."""
    return float(values.var(correction=0)), float(values.mean().abs())
