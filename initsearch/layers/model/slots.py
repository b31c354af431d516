"""What `describe` says of a model: a `Slot` per parameter, cut into `ParameterPart`s drawn apart."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from initsearch.initializers import Initializer


@dataclass(frozen=True)
class ParameterPart:
    """A part of a parameter that is a matrix of its own: a gate, a query projection, a group.

    Attributes:
        index: Where it is in the parameter; `None` is all of it.
        fan_in: Inputs that reach one output through this part.
        fan_out: Outputs that one input reaches through this part.
        label: What it is (`forget`, `query`, ...); empty when there is nothing to tell apart.
        transposed: Whether the parameter has its inputs before its outputs (transposed
            convolutions), so that `view` swaps the two.
    """

    index: tuple[slice | int, ...] | None
    fan_in: float
    fan_out: float
    label: str = ""
    transposed: bool = False

    def view(self, tensor: Tensor) -> Tensor:
        """The part of `tensor`, as a view of shape (out, in, *kernel) for weights."""
        view = tensor if self.index is None else tensor[self.index]
        return view.transpose(0, 1) if self.transposed else view


@dataclass(frozen=True)
class Slot:
    """One parameter of a model, as its module uses it.

    A parametrized weight (weight_norm, spectral_norm, ...) is one slot under the name by which the
    module reads it, whatever is stored beneath. A tied parameter is one slot under its first name.

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
        fan_in: Inputs per output, such that Var[out] = fan_in * Var[weight] * E[in^2]; a bias has
            its weight's. From the module, not from the bare shape: see `initsearch.layers.model.kinds`.
        fan_out: Outputs per input, likewise for the backward pass.
        parts: The parts to be drawn one by one; at least one, together all of the parameter.
        role: `first`: the layer reads the model's input, which has passed no other weight layer.
            `head`: its output is the model's, as it is or through an output function (softmax,
            sigmoid, tanh, ...), or else the last before any other activation there. `hidden`: all
            else. `None` for what is no weight layer.
        activation: What follows the layer: `relu`, `gelu`, `attention`, `swiglu`, ...; `none` where
            only other weight layers or the output read it; `None` where it is not known.
        activation_source: `trace` (seen in a forward pass), `modules` (from the order of the
            modules), or `unknown`.
        torch_default: What the framework draws it from; `None` where that is not known.
        tied_names: Its other names.
        note: What else there is to know; empty if nothing.
        aliases: For tied parameters, the slots of the other names: the same memory, in other
            modules.
        activation_function: The activation as a function of a tensor, where it is elementwise and
            known; with the settings that the model has (slope, approximation).
        stored_as: The names under which `state_dict` has it.
        branch: Where it stands in a residual branch: in the `last` weight layer, in an `inner` one,
            or in the norm after the last (`last_norm`); `None` outside of branches, and where the
            forward pass is not known. See `initsearch.layers.trace.branches` for what is a branch.
        branch_layers: How many weight layers stand in the longest chain of that branch.
        branches: How many residual branches the model has.
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

    @property
    def forget_gate(self) -> int | None:
        """The part that is an LSTM's forget gate, in the one of its two biases that holds it.

        The gate's bias is the sum of `bias_ih` and `bias_hh`: only the first has a forget gate
        here, so that whoever sets it to one sets it once.
        """
        if self.kind != "lstm" or self.category != "bias" or "bias_ih" not in self.name:
            return None
        return next(i for i, part in enumerate(self.parts) if part.label == "forget")
