"""A plan as plain PyTorch code, which needs no initsearch."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from torch import nn
from torch.nn.utils import parametrize

from initsearch.errors import ConfigError
from initsearch.initializers import (
    Chrono,
    Constant,
    DeltaOrthogonal,
    Identity,
    Initializer,
    Mimetic,
    Normal,
    Orthogonal,
    TorchDefault,
    TruncatedNormal,
    Uniform,
    VarianceScaling,
)
from initsearch.initializers.distribution import Distribution
from initsearch.initializers.scaling import count_connections, parent_ratio
from initsearch.layers import ParameterPart, Slot
from initsearch.layers.model.assign import padding_row
from initsearch.layers.model.walk import submodule
from initsearch.plan.code_lines import draw, place, structure

_HEAD = '''\
import math

import torch
from torch import nn


@torch.no_grad()
def init_weights(model: nn.Module) -> None:
    """Initialize a {model}; values are drawn from torch's global random generator."""
    p = dict(model.named_parameters())
'''
_KERAS, _JAX = "keras.initializers", "jax.nn.initializers"


def code_for(model: nn.Module, drawn: Sequence[tuple[Slot, Initializer]]) -> str:
    """The code that draws parameters of a model.

    Args:
        model: The model that was described.
        drawn: The parameters with their initializers, completed by their position.

    Raises:
        ConfigError: An initializer has no such code (`lsuv`, a function), or refuses a parameter; or a weight
            is parametrized, but not by `torch.nn.utils.parametrize`.
    """
    groups: dict[Initializer, list[Slot]] = {}
    for slot, initializer in drawn:
        groups.setdefault(initializer, []).append(slot)
    lines = [_HEAD.format(model=type(model).__name__).rstrip()]
    if any(isinstance(initializer, Mimetic) for initializer in groups):
        lines.append("    products = {}  # of two factors, which share a draw")
    for initializer, slots in groups.items():
        lines += [
            "",
            f"    # {initializer.label()}: {initializer.formula}",
            *_elsewhere(initializer),
        ]
        plain = [slot for slot in slots if _is_plain(model, slot, initializer)]
        lines += _loop(initializer, plain)
        for slot in slots:
            if slot not in plain:
                lines += _by_parts(model, slot, initializer, _partner(slot, initializer, groups))
        for slot in slots:
            lines += _padding(model, slot)
    return "\n".join(lines) + "\n"


def _partner(
    slot: Slot, initializer: Initializer, groups: Mapping[Initializer, Sequence[Slot]]
) -> ParameterPart | None:
    """The other gate of an LSTM's bias, if `chrono` fills it before this one: both have one draw."""
    if not isinstance(initializer, Chrono):
        return None
    for other, slots in groups.items():
        if other == initializer:
            return None
        if isinstance(other, Chrono) and replace(other, gate=initializer.gate) == initializer:
            return next((each.parts[0] for each in slots if each.name == slot.name), None)
    return None


def _is_plain(model: nn.Module, slot: Slot, initializer: Initializer) -> bool:
    """Whether one call fills the whole parameter."""
    if slot.part or slot.stored_as != (slot.name,) or any(part.gain != 1.0 for part in slot.parts):
        return False
    laws = {_law(slot, part, initializer) for part in slot.parts}
    return None not in laws and len(laws) == 1


def _law(slot: Slot, part: ParameterPart, initializer: Initializer) -> Distribution | None:
    try:
        return initializer.drawn_from(part.fan_in, part.fan_out)
    except ConfigError as error:
        raise ConfigError(f"{slot.name}: {error}") from error


def _loop(initializer: Initializer, slots: Sequence[Slot]) -> Iterator[str]:
    """One loop over all parameters that an initializer fills whole."""
    if not slots:
        return
    if isinstance(initializer, VarianceScaling):
        yield from _scaling_loop(initializer, slots)
        return
    laws: dict[Distribution, list[Slot]] = {}
    for slot in slots:
        law = _law(slot, slot.parts[0], initializer)
        assert law is not None
        laws.setdefault(law, []).append(slot)
    for law, same in laws.items():
        yield "    for name in ("
        yield from (f"        {slot.name!r}," for slot in same)
        yield "    ):"
        yield f"        {draw('p[name]', law)}"


def _scaling_loop(initializer: VarianceScaling, slots: Sequence[Slot]) -> Iterator[str]:
    """The formula of variance scaling, with the number of connections of each parameter."""
    yield f"    for name, {initializer.mode} in ("
    for slot in slots:
        part = slot.parts[0]
        count = count_connections(initializer.name, initializer.mode, part.fan_in, part.fan_out)
        yield f"        ({slot.name!r}, {count:.12g}),"
    yield "    ):"
    yield f"        std = math.sqrt({initializer.factor!r} / {initializer.mode})"
    if initializer.distribution == "uniform":
        yield "        limit = math.sqrt(3) * std"
        yield "        p[name].uniform_(-limit, limit)"
        return
    law = _law(slots[0], slots[0].parts[0], initializer)
    if law is not None and law.kind == "normal":
        yield "        p[name].normal_(0.0, std)"
        return
    yield f"        std *= {parent_ratio(initializer.dialect)!r}  # truncation narrows it again"
    yield "        nn.init.trunc_normal_(p[name], std=std, a=-2 * std, b=2 * std)"


def _by_parts(
    model: nn.Module, slot: Slot, initializer: Initializer, partner: ParameterPart | None
) -> Iterator[str]:
    """A parameter part by part; a parametrized one is set through its module."""
    module = submodule(model, slot.module_name)
    attribute = slot.name.rpartition(".")[2]
    plain = slot.stored_as == (slot.name,)
    if plain:
        yield f"    w = p[{slot.name!r}]"
    elif parametrize.is_parametrized(module, attribute):
        weight = f"model.get_submodule({slot.module_name!r}).{attribute}"
        yield f"    w = {weight}.clone()" if slot.part else f"    w = torch.empty_like({weight})"
    else:
        raise ConfigError(
            f"{slot.name}: to_code writes plain weights and those of torch.nn.utils.parametrize, but this one "
            "is stored in another way: register its parametrization with torch.nn.utils.parametrizations"
        )
    for part in slot.parts:
        yield f"    t = w{place(part)}"
        law = _law(slot, part, initializer)
        if law is not None:
            yield f"    {draw('t', law)}"
        else:
            yield from (f"    {line}" for line in structure(slot, part, initializer, partner))
        if part.gain != 1.0:
            yield f"    t.div_({part.gain!r})  # by which the model multiplies it"
    if not plain:
        yield f"    model.get_submodule({slot.module_name!r}).{attribute} = w"


def _padding(model: nn.Module, slot: Slot) -> list[str]:
    for each in (slot, *slot.aliases):
        row = padding_row(model, each)
        if row is not None:
            return [f"    p[{slot.name!r}][{row}].zero_()  # padding"]
    return []


def _elsewhere(initializer: Initializer) -> list[str]:
    """The same initializer in Keras and JAX, as comments, where there is one."""
    keras, jax = "", ""
    if isinstance(initializer, TorchDefault):
        initializer = VarianceScaling(1 / 3, "fan_in", "uniform")
    if isinstance(initializer, VarianceScaling) and (
        initializer.dialect != "tf1" or initializer.distribution == "uniform"
    ):
        kind = initializer.distribution
        if kind == "normal":
            kind = "untruncated_normal" if initializer.dialect == "torch" else "truncated_normal"
        numbers = f"{initializer.factor!r}, {initializer.mode!r}"
        if initializer.mode != "fan_geo_avg":
            keras = f"VarianceScaling({numbers}, {kind!r})"
        kind = "normal" if kind == "untruncated_normal" else kind
        jax = f"variance_scaling({numbers}, {kind!r})"
    elif isinstance(initializer, Constant):
        keras, jax = f"Constant({initializer.value!r})", f"constant({initializer.value!r})"
    elif isinstance(initializer, Normal):
        keras = f"RandomNormal({initializer.mean!r}, {initializer.std!r})"
        jax = f"normal({initializer.std!r})" if initializer.mean == 0 else ""
    elif isinstance(initializer, Uniform):
        low = -initializer.limit if initializer.low is None else initializer.low
        keras = f"RandomUniform({low!r}, {initializer.limit!r})"
        jax = f"uniform({initializer.limit!r})" if low == 0 else ""
    elif isinstance(initializer, TruncatedNormal) and _is_two_sigma(initializer):
        keras = f"TruncatedNormal({initializer.mean!r}, {initializer.std!r})"
        jax = f"truncated_normal({initializer.std!r})" if initializer.mean == 0 else ""
    elif isinstance(initializer, Orthogonal) and not initializer.scaled:
        keras, jax = f"Orthogonal({initializer.gain!r})", f"orthogonal({initializer.gain!r})"
    elif isinstance(initializer, Identity):
        keras = f"Identity({initializer.gain!r})"
    elif isinstance(initializer, DeltaOrthogonal):
        jax = f"delta_orthogonal({initializer.gain!r})"
    found = ((_KERAS, keras), (_JAX, jax))
    return [f"    # {module}.{call}" for module, call in found if call]


def _is_two_sigma(initializer: TruncatedNormal) -> bool:
    ends = (initializer.low, initializer.high)
    return initializer.bounds == "sigma" and ends == (-2.0, 2.0) and not initializer.corrected
