"""The role of each layer and the activation after it, from a trace or from the order of modules."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from initsearch.layers.model.kinds import nature_of
from initsearch.layers.model.walk import NamedParameter, walk
from initsearch.layers.trace.activations import module_activation
from initsearch.layers.trace.record import NONE, LayerCall, Trace, following

# Modules between a layer and the activation that belongs to it.
_TRANSPARENT = (
    nn.Identity,
    nn.Flatten,
    nn.Unflatten,
    nn.modules.dropout._DropoutNd,
    nn.modules.pooling._MaxPoolNd,
    nn.modules.pooling._AvgPoolNd,
    nn.modules.pooling._AdaptiveAvgPoolNd,
    nn.modules.pooling._AdaptiveMaxPoolNd,
    nn.modules.padding._ConstantPadNd,
    nn.modules.padding._ReflectionPadNd,
    nn.modules.padding._ReplicationPadNd,
    nn.Upsample,
    nn.PixelShuffle,
    nn.PixelUnshuffle,
)


@dataclass(frozen=True)
class Position:
    """The position of a layer in its model; fields as in `Slot`."""

    role: str | None = None
    activation: str | None = None
    source: str = "unknown"
    note: str = ""
    function: Callable[[Tensor], Tensor] | None = None


def from_calls(calls: Sequence[LayerCall]) -> Position:
    """The position of a layer that was called at least once.

    A layer that is both first and head is a head. Of several activations the first one counts, and the
    note names all of them.
    """
    if any(call.is_output for call in calls):
        role = "head"
    elif any(call.reads_input and not call.sources for call in calls):
        role = "first"
    else:
        role = "hidden"
    uses = [use for call in calls for use in call.uses]
    use = following(uses)
    if use is None:
        return Position(role, None, "unknown", "what follows its output is not known")
    names = dict.fromkeys(u.name for u in sorted(uses, key=lambda u: u.step) if u.name != NONE)
    note = ""
    if len(names) > 1:
        note = f"feeds {' and '.join(names)}: {use.name}, which comes first, is taken"
    return Position(role, use.name, "trace", note, use.function)


def from_modules(model: nn.Module, named: Sequence[NamedParameter]) -> dict[str, Position]:
    """The positions of all weight layers, from the order in which the modules were registered.

    An activation module that follows a layer counts, also after norms, dropout, pooling and the like. If
    another weight layer follows, the activation is `none` only within one `nn.Sequential`: elsewhere a
    function may be called in between.
    """
    layers: dict[str, str] = {}
    for parameter in named:
        site = parameter.sites[0]
        if nature_of(site).category == "weight":
            layers.setdefault(site.module_name, site.name)
    leaves = [
        (name, module, ancestors[-1] if ancestors else None)
        for name, module, ancestors in walk(model)
        if next(module.children(), None) is None or name in layers
    ]
    positions: dict[str, Position] = {}
    for number, (name, module, parent) in enumerate(leaves):
        if name not in layers:
            continue
        role = "hidden"
        if len(positions) == len(layers) - 1:
            role = "head"
        elif not positions:
            role = "first"
        activation, function = _next(module, parent, leaves[number + 1 :], layers)
        source = "unknown" if activation is None else "modules"
        positions[name] = Position(role, activation, source, "", function)
    return positions


def _next(
    module: nn.Module,
    parent: nn.Module | None,
    leaves: Sequence[tuple[str, nn.Module, nn.Module | None]],
    layers: Mapping[str, str],
) -> tuple[str | None, Callable[[Tensor], Tensor] | None]:
    if isinstance(module, nn.MultiheadAttention):
        return "attention", None
    if isinstance(module, nn.RNNBase | nn.RNNCellBase):
        return recurrent_activation(module), None
    for name, following_module, its_parent in leaves:
        if name in layers:
            chained = isinstance(parent, nn.Sequential) and its_parent is parent
            return (NONE if chained else None), None
        activation = module_activation(following_module)
        if activation is not None:
            return activation, following_module
        if "norm" in type(following_module).__name__.lower():
            continue
        if not isinstance(following_module, _TRANSPARENT):
            return None, None
    return None, None


def recurrent_activation(module: nn.Module) -> str:
    """`tanh` or `relu` for a plain RNN, `gates` for LSTM and GRU."""
    return str(getattr(module, "nonlinearity", "gates"))


def missing(named: Sequence[NamedParameter], found: Trace) -> bool:
    """Whether a trace lacks some weight layer."""
    called = {name for call in found.calls for name in call.parameters}
    return any(
        nature_of(parameter.sites[0]).category == "weight"
        for parameter in named
        if parameter.name not in called
    )
