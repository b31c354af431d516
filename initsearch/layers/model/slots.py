"""The description of a model: a `Slot` per parameter, with the `ParameterPart`s that are drawn separately."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from initsearch.initializers import Initializer


@dataclass(frozen=True)
class Strides:
    """A part of a contiguous parameter by the steps in its memory.

    Attributes:
        offset: Its first entry.
        out: Size and stride of each axis that counts outputs.
        inputs: The same of each axis that counts inputs.
        taps: The same of each axis of a kernel.
    """

    offset: int
    out: tuple[tuple[int, int], ...]
    inputs: tuple[tuple[int, int], ...]
    taps: tuple[tuple[int, int], ...] = ()

    def of(self, tensor: Tensor) -> Tensor:
        """The part of a contiguous tensor, as a view with all of these axes."""
        axes = (*self.out, *self.inputs, *self.taps)
        start = tensor.storage_offset() + self.offset
        return tensor.as_strided([size for size, _ in axes], [step for _, step in axes], start)

    @property
    def shape(self) -> tuple[int, ...]:
        """(out, in, *kernel)."""
        rows, columns = (math.prod(size for size, _ in axes) for axes in (self.out, self.inputs))
        return rows, columns, *(size for size, _ in self.taps)


@dataclass(frozen=True)
class ParameterPart:
    """A part of a parameter that is a matrix by itself: a gate, a query projection, a group.

    Attributes:
        index: Its place in the parameter; `None` means all of it.
        fan_in: Inputs that reach one output through this part.
        fan_out: Outputs that one input reaches through this part.
        label: What it is (`forget_gate`, `query`, ...); empty if it has no name.
        transposed: Whether the parameter has its inputs before its outputs (transposed
            convolutions); `view` then swaps the two.
        strides: Its place by steps in memory, if a forward pass has shown how it is used; `index` and
            `transposed` then say nothing.
        gain: The factor by which the model multiplies it on its way to the layer; what is drawn for it is
            divided by that.
    """

    index: tuple[slice | int, ...] | None
    fan_in: float
    fan_out: float
    label: str = ""
    transposed: bool = False
    strides: Strides | None = None
    gain: float = 1.0

    def view(self, tensor: Tensor) -> Tensor:
        """The part of `tensor`, of shape (out, in, *kernel) for weights.

        It is a view, or a copy if memory has no such view; `store` writes both back.
        """
        if self.strides is not None:
            return self.strides.of(tensor.contiguous()).reshape(self.strides.shape)
        view = tensor if self.index is None else tensor[self.index]
        return view.transpose(0, 1) if self.transposed else view

    def store(self, tensor: Tensor, view: Tensor) -> None:
        """Write what `view` returned, changed or not, to its place in `tensor`."""
        memory = view.untyped_storage().data_ptr() == tensor.untyped_storage().data_ptr()
        if self.strides is None or memory:
            return
        whole = tensor.contiguous()
        place = self.strides.of(whole)
        place.copy_(view.view(place.shape))
        if whole is not tensor:
            tensor.copy_(whole)


@dataclass(frozen=True)
class Slot:
    """One parameter of a model, as its module uses it.

    A parametrized weight (weight_norm, spectral_norm, ...) is one slot under the name by which the
    module reads it, however it is stored. A tied parameter is one slot under its first name.

    Attributes:
        name: Qualified name, without the prefixes of `torch.compile` and `DataParallel`.
        module_name: Qualified name of the module that owns it; empty for the model itself.
        module_type: That module's class.
        kind: What the module is: `linear`, `bilinear`, `conv1d` to `conv3d`, `conv_transpose1d` to
            `conv_transpose3d`, `embedding`, `lstm`, `gru`, `rnn`, `attention`, `batch_norm`,
            `instance_norm`, `layer_norm`, `group_norm`, `rms_norm`, `norm`, `prelu`, `other`.
        category: `weight`, `bias`, `norm_weight`, `norm_bias` or `other`.
        shape: Its shape.
        dtype: Its type.
        requires_grad: False for a frozen parameter.
        fan_in: Inputs per output: Var[out] = fan_in * Var[weight] * E[in^2]. A bias has its weight's
            fans. They come from the module, not from the bare shape: see
            `initsearch.layers.model.kinds`.
        fan_out: Outputs per input, likewise for the backward pass.
        parts: The parts that are drawn one by one: at least one; together they are the parameter.
        role: `first`: the layer reads the model's input, with no other weight layer before it.
            `head`: its output is the model's, directly or through an output function (softmax,
            sigmoid, tanh, ...); if another activation stands there, the last layer before it.
            `hidden`: all other weight layers. `None` for other parameters.
        activation: What follows the layer: `relu`, `gelu`, `attention`, `swiglu`, ...; `none` if
            only other weight layers or the model's output read it; `None` if that is not known.
        activation_source: `trace` (seen in a forward pass), `modules` (from the order of the
            modules), or `unknown`.
        torch_default: The distribution that the framework draws it from; `None` if not known.
        tied_names: Its other names.
        note: Remarks; empty if there are none.
        aliases: For tied parameters, the slots of the other names: the same memory, in other
            modules.
        activation_function: The activation as a function of a tensor, if it is elementwise and
            known, with the model's settings (slope, approximation).
        stored_as: Its names in `state_dict`.
        branch: Its place in a residual branch: the `last` weight layer, an `inner` one, or the norm
            after the last (`last_norm`); `None` outside branches, and if the forward pass is not
            known. `initsearch.layers.trace.branches` defines what a branch is.
        branch_layers: The number of weight layers in the longest chain of that branch.
        branches: The number of residual branches of the model.
        branch_index: The index of that branch in the model, from 0; `None` outside branches.
        stack: `encoder` or `decoder`, if its name has that word; else empty.
        stack_branches: The number of residual branches of each stack that the model has.
        siblings: The parameters whose names differ from its in the first index only, itself included: the
            number of blocks that have it.
        heads: The heads of the attention that its layer belongs to, by an attribute of the module that holds
            it; 0 if that is not known.
        deliberate: Why its values are thought to be set by the model on purpose; empty if they are not. See
            `initsearch.layers.model.deliberate`.
        part: For a slot from `pieces`, the label of the part that it is; its `shape` is still that of the
            parameter.
    """

    name: str
    module_name: str
    module_type: str
    kind: str
    category: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    requires_grad: bool
    fan_in: float
    fan_out: float
    parts: tuple[ParameterPart, ...]
    role: str | None = None
    activation: str | None = None
    activation_source: str = "unknown"
    torch_default: Initializer | None = None
    tied_names: tuple[str, ...] = ()
    note: str = ""
    aliases: tuple["Slot", ...] = ()
    activation_function: Callable[[Tensor], Tensor] | None = field(
        default=None, compare=False, repr=False
    )
    stored_as: tuple[str, ...] = ()
    branch: str | None = None
    branch_layers: int = 0
    branches: int = 0
    branch_index: int | None = None
    stack: str = ""
    stack_branches: tuple[tuple[str, int], ...] = ()
    siblings: int = 1
    heads: int = 0
    deliberate: str = ""
    part: str = ""

    @property
    def label(self) -> str:
        """The name of its only part; empty if it has several, or one without a name."""
        return self.parts[0].label if len(self.parts) == 1 else ""

    @property
    def title(self) -> str:
        """Its name, with the part in brackets if it is one of several."""
        return f"{self.name}[{self.part}]" if self.part else self.name

    @property
    def adds_to(self) -> str:
        """The name of the bias to which the module adds this one, and which carries a value for both.

        It is `bias_ih` for `bias_hh` of a recurrent layer: a bias of one is then set once. Empty for all
        others.
        """
        attribute = self.name.rpartition(".")[2]
        recurrent = self.kind in ("lstm", "gru", "rnn") and self.category == "bias"
        if not recurrent or not attribute.startswith("bias_hh"):
            return ""
        return self.name.removesuffix(attribute) + attribute.replace("bias_hh", "bias_ih")

    def pieces(self) -> tuple["Slot", ...]:
        """A slot for each named part, if there are several; else the slot itself."""
        if len(self.parts) < 2 or not all(part.label for part in self.parts):
            return (self,)
        return tuple(
            replace(
                self,
                parts=(part,),
                part=part.label,
                fan_in=part.fan_in,
                fan_out=part.fan_out,
                aliases=tuple(_piece(alias, number) for alias in self.aliases),
            )
            for number, part in enumerate(self.parts)
        )


def _piece(alias: Slot, number: int) -> Slot:
    part = alias.parts[number] if number < len(alias.parts) else alias.parts[0]
    return replace(alias, parts=(part,), part=part.label)
