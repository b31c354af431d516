"""The base of all initializers: a frozen dataclass that fills one tensor, and whose fields are its tunables.

`fill_` does what all initializers share: it refuses tensors that cannot be filled, and chooses the
precision and the device in which values are drawn. A family implements `_draw_` alone.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

from initsearch.errors import ConfigError, ModelError, quoted
from initsearch.initializers.distribution import Distribution
from initsearch.initializers.fields import CheckedFields

# Types in which torch draws values itself; all other floating types are drawn in float32 and cast.
_DRAWN_IN_PLACE = (torch.float32, torch.float64, torch.complex64, torch.complex128)

# Settings of families that have a name of their own (`he_normal`); `registry.preset` enters them.
_preset_names: "dict[Initializer, str]" = {}


def compute_fans(shape: Sequence[int]) -> tuple[float, float]:
    """The fans of a bare tensor of `shape` (out, in, *kernel).

    fan_in = in * prod(kernel) and fan_out = out * prod(kernel), as torch counts them. Where torch
    refuses, this follows Keras, JAX and TF1: a vector's fans are both its length, a scalar's are 1.
    A module's true fans can differ (transposed or grouped convolutions); see `initsearch.layers`.
    """
    if not shape:
        return 1.0, 1.0
    if len(shape) == 1:
        return float(shape[0]), float(shape[0])
    kernel = math.prod(shape[2:])
    return float(shape[1] * kernel), float(shape[0] * kernel)


class Facts(Protocol):
    """What an initializer may need to know of a parameter's position in its model; a `Slot` has it."""

    @property
    def branch(self) -> str | None:
        """`inner`, `last` or `last_norm` in a residual branch; `None` outside one."""

    @property
    def branch_layers(self) -> int:
        """Weight layers in the longest chain of that branch."""

    @property
    def branches(self) -> int:
        """Residual branches in the model."""

    @property
    def branch_index(self) -> int | None:
        """The index of that branch, from 0."""

    @property
    def stack(self) -> str:
        """`encoder` or `decoder` by the parameter's name; or empty."""

    @property
    def stack_branches(self) -> tuple[tuple[str, int], ...]:
        """Residual branches of each stack."""

    @property
    def siblings(self) -> int:
        """Blocks that have this parameter."""

    @property
    def name(self) -> str:
        """The parameter's qualified name."""

    @property
    def module_name(self) -> str:
        """That of its module."""

    @property
    def heads(self) -> int:
        """Heads of the attention that it belongs to; 0 if that is not known."""

    @property
    def label(self) -> str:
        """The name of its only part, as `query`; or empty."""

    @property
    def kind(self) -> str:
        """The kind of layer."""

    @property
    def category(self) -> str:
        """`weight`, `bias`, ..."""

    @property
    def part(self) -> str:
        """The part of a packed parameter that is filled; or empty."""

    @property
    def adds_to(self) -> str:
        """The bias to which a recurrent layer adds this one; or empty."""


@dataclass(frozen=True)
class Initializer(CheckedFields, ABC):
    """Fills one tensor. Subclasses are frozen dataclasses whose fields are the tunables.

    Class attributes:
        name: The registry's name, set by `register`.
        formula: What is drawn, for the catalogue.
        source: Paper and equation, or framework, for the catalogue.
        needs: What it needs besides the tensor; empty for all that draw from fans alone. "branch":
            the parameter's position in a residual branch, see `resolved`. "part": which part of a packed
            parameter it fills; a plan then fills each part by itself. "batch": the outputs of the model's
            layers on a batch, see `LayerScaling`. "loss": that of the model, see `ModelScaling`. "targets":
            those of the training data, see `given`. A plan refuses any other word.
    """

    name: ClassVar[str] = ""
    formula: ClassVar[str] = ""
    source: ClassVar[str] = ""
    needs: ClassVar[frozenset[str]] = frozenset()

    @abstractmethod
    def _draw_(
        self, out: Tensor, fan_in: float, fan_out: float, generator: torch.Generator | None
    ) -> None:
        """Fill `out` in place, under no_grad.

        Args:
            out: Dense, contiguous, not empty, float32/64 or complex64/128, on the generator's
                device.
            fan_in: Inputs per output, as received by `fill_`; not yet checked.
            fan_out: Outputs per input, likewise.
            generator: Source of all randomness; None: torch's global generator.
        """

    @torch.no_grad()
    def fill_(
        self,
        tensor: Tensor,
        fan_in: float | None = None,
        fan_out: float | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Fill `tensor` in place and return it; no gradient is recorded.

        Values are drawn on the generator's device and in row-major order, whatever the memory layout:
        in the tensor's own precision for float32, float64 and their complex types, in float32 and
        then cast for narrower types. A complex tensor's variance is split evenly between its real and
        imaginary parts.

        Args:
            tensor: Shape (out, in, *kernel), floating or complex.
            fan_in: Inputs per output. Default: from the tensor's shape, see `compute_fans`.
            fan_out: Outputs per input. Default: likewise.
            generator: Default: torch's global generator of the tensor's device.

        Raises:
            ModelError: A lazy, meta, sparse, expanded or integer tensor.
            ConfigError: The formula has no value for this tensor (fan of zero, wrong rank, values
                that the type cannot hold).
        """
        _refuse(tensor)
        if tensor.numel() == 0:
            return tensor
        if fan_in is None or fan_out is None:
            own_in, own_out = compute_fans(tensor.shape)
            fan_in = own_in if fan_in is None else fan_in
            fan_out = own_out if fan_out is None else fan_out
        device = tensor.device if generator is None else generator.device
        is_plain = tensor.is_contiguous() and not tensor.is_conj()
        dtype = tensor.dtype if tensor.dtype in _DRAWN_IN_PLACE else _wide(tensor.dtype)
        if dtype == tensor.dtype and device == tensor.device and is_plain:
            self._draw_(tensor, fan_in, fan_out, generator)
            return tensor
        drawn = torch.empty(tensor.shape, dtype=dtype, device=device)
        drawn.copy_(tensor)  # a user's function may scale what is there
        self._draw_(drawn, fan_in, fan_out, generator)
        if dtype != tensor.dtype:
            _must_survive_cast(drawn, tensor.dtype, self.label())
        return tensor.copy_(drawn)

    def moments(self, fan_in: float, fan_out: float) -> tuple[float, float] | None:
        """Declared mean and standard deviation of an entry.

        None if no formula in the fans alone gives them: matrices that are not drawn entry by entry,
        users' functions.
        """
        return None

    def drawn_from(self, fan_in: float, fan_out: float) -> Distribution | None:
        """What each entry is drawn from, in canonical form: the same for equal draws under other names.

        None if entries are not drawn one by one, or if the form is not known.
        """
        return None

    def resolved(self, facts: Facts) -> "Initializer":
        """This initializer, completed by what it needs to know of the parameter's position.

        A plan calls it before it fills a parameter. An initializer that needs nothing returns itself.

        Raises:
            ConfigError: The formula has no value for a parameter in this position.
        """
        return self

    def given(self, targets: Tensor, outputs: int) -> "Initializer":
        """This initializer, completed by the targets of the training data; one that needs none returns itself.

        Args:
            targets: Those of all or many training examples, in any form that a loss takes.
            outputs: The number of entries of the parameter.

        Raises:
            ConfigError: The targets do not fit the parameter.
        """
        return self

    def stream(self, facts: Facts) -> str:
        """The name of the random stream that it draws from, if it shares one with another parameter or part."""
        return ""

    def bias(self) -> "Initializer | None":
        """What this scheme prescribes for the bias of the same layer; None: nothing."""
        return None

    def tunables(self) -> dict[str, Any]:
        """The fields that differ from their defaults."""
        return {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if getattr(self, field.name) != field.default
        }

    def spec(self) -> dict[str, Any]:
        """Name and non-default fields, ready for YAML or JSON; `get_initializer` reads it back.

        A setting that has a name of its own is written by that name: `{"name": "he_normal"}`.
        """
        preset = _preset_names.get(self)
        if preset:
            return {"name": preset}
        return {"name": self.name, **{key: _plain(value) for key, value in self.tunables().items()}}

    def label(self) -> str:
        """Short and readable: `he_normal`, or `variance_scaling(factor=0.5, mode=fan_out)`."""
        preset = _preset_names.get(self)
        if preset:
            return preset
        settings = ", ".join(f"{key}={_short(value)}" for key, value in self.tunables().items())
        return f"{self.name}({settings})" if settings else self.name

    @classmethod
    def translate(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Rewrite another framework's spelling of `settings` into this class's fields."""
        return dict(settings)


def _plain(value: Any) -> Any:
    """A field's value as YAML and JSON have it."""
    if isinstance(value, Initializer):
        spec = value.spec()
        return spec["name"] if set(spec) == {"name"} else spec
    return list(value) if isinstance(value, tuple) else value


def _short(value: Any) -> str:
    if isinstance(value, Initializer):
        return value.label()
    return f"{value:g}" if isinstance(value, float) else str(value)


def name_setting(initializer: Initializer, name: str) -> None:
    """Give a setting a name, which its `spec` and `label` then use; the first name given stays."""
    _preset_names.setdefault(initializer, name)


def positive_fan(name: str, argument: str, fan: float) -> float:
    """`fan`, if a formula can divide by it.

    Raises:
        ConfigError: Zero, negative, infinite or not a number.
    """
    if not (fan > 0 and math.isfinite(fan)):
        raise ConfigError(
            f"{name}: {argument} must be > 0 and finite, but got {quoted(fan)}: pass the module's own fan"
        )
    return float(fan)


def _refuse(tensor: Tensor) -> None:
    """Raise ModelError for a tensor that cannot be filled."""
    if is_lazy(tensor):
        raise ModelError(
            "cannot initialize a lazy parameter: its shape must be known, but it is uninitialized: run one "
            "batch through the model first"
        )
    if tensor.is_meta:
        raise ModelError(
            "cannot initialize a meta tensor: it must hold data, but has no storage: call "
            "model.to_empty(device='cpu') first"
        )
    if tensor.layout != torch.strided:
        raise ModelError(
            f"cannot initialize a {tensor.layout} tensor: it must be dense: call .to_dense() first"
        )
    if not (tensor.is_floating_point() or tensor.is_complex()):
        raise ModelError(
            f"cannot initialize a {tensor.dtype} tensor: it must be floating or complex: "
            "leave it out of the plan (keep)"
        )
    if any(
        step == 0 and size > 1 for step, size in zip(tensor.stride(), tensor.shape, strict=True)
    ):
        raise ModelError(
            "cannot initialize an expanded tensor: each entry must have its own memory, but got "
            f"strides {tensor.stride()}: call .clone() first"
        )


def _must_survive_cast(drawn: Tensor, dtype: torch.dtype, label: str) -> None:
    """Raise ConfigError if finite values overflow a narrower `dtype`."""
    if not bool(torch.isfinite(drawn.to(dtype).to(drawn.dtype)).all()):
        raise ConfigError(
            f"{label}: values must fit in {dtype}, but some overflow it: use a smaller scale or a wider type"
        )


def _wide(dtype: torch.dtype) -> torch.dtype:
    """The type in which values of a narrow `dtype` are drawn."""
    return torch.complex64 if dtype.is_complex else torch.float32
