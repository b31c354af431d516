"""The names of activations, as functions, as modules and as gated units.

A function is recognized by its own name, called from `torch`, `torch.nn.functional`, a module or as a
tensor's method, in place or not. `layers.trace.modules` classifies users' own modules.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from initsearch.layers.trace.record import ATTENTION

# Elementwise functions that are activations under their own name.
ELEMENTWISE = frozenset(
    """
    relu relu6 leaky_relu rrelu elu selu celu gelu silu mish tanh sigmoid logsigmoid softplus
    softsign softshrink hardshrink tanhshrink hardswish hardsigmoid hardtanh prelu threshold
    sin cos exp abs erf
    """.split()  # noqa: SIM905 - easier to read than a list of strings
)
_SPELLINGS = {
    "log_sigmoid": "logsigmoid",
    "expit": "sigmoid",
    "special_expit": "sigmoid",
    "special_erf": "erf",
    "absolute": "abs",
    "rrelu_with_noise": "rrelu",
    "softmin": "softmax",
    "gumbel_softmax": "softmax",
    "special_softmax": "softmax",
    "special_log_softmax": "log_softmax",
    "clamp_min": "clamp",
    "clamp_max": "clamp",
    "clip": "clamp",
}
# Activations that read more than one entry.
_WIDE = frozenset({"softmax", "log_softmax", "glu", ATTENTION})

#: Output functions: the last layer of a model is its head even with one of these after it.
OUTPUT_FUNCTIONS = frozenset(
    {"softmax", "log_softmax", "sigmoid", "logsigmoid", "hardsigmoid", "tanh", "softplus", "exp"}
)

# The name of x * f(x), by f. Two names joined by > are the second applied to the result of the first.
SELF_GATED = {
    "sigmoid": "silu",
    "hardsigmoid": "hardswish",
    "relu6": "hardswish",
    "softplus>tanh": "mish",
    "tanh": "gelu",
    "erf": "gelu",
}
# The name of f(a) * b with a and b from parallel layers or halves of one layer, by f.
GATED = {"sigmoid": "glu", "silu": "swiglu", "gelu": "geglu", "relu": "reglu", "tanh": "tanh_glu"}

# Classes whose name is not that of their function.
_CLASSES = {
    "swish": "silu",
    "hswish": "hardswish",
    "hsigmoid": "hardsigmoid",
    "logsoftmax": "log_softmax",
    "leakyrelu": "leaky_relu",
    "newgelu": "gelu",
    "fastgelu": "gelu",
    "pytorchgelutanh": "gelu",
    "quickgelu": "silu",
}


def operation_name(function: Any) -> str:
    """The bare name of an operation: `add` for `torch.add`, `Tensor.add_` and `Tensor.__iadd__`."""
    name = str(
        getattr(function, "__name__", None) or getattr(function, "__qualname__", "") or function
    )
    if name.startswith("__") and name.endswith("__"):
        name = name.strip("_")
        if name in _MIRRORED:
            return _MIRRORED[name]
        if name in ("get", "set"):  # of an attribute, such as Tensor.T
            return str(getattr(getattr(function, "__self__", None), "__name__", name))
        return name
    name = name.partition(".")[0].strip("_")
    return {"multiply": "mul", "divide": "div", "true_divide": "div", "subtract": "sub"}.get(
        name, name
    )


_MIRRORED = {
    prefix + short: full
    for prefix in ("", "r", "i")
    for short, full in {
        "add": "add",
        "sub": "sub",
        "mul": "mul",
        "div": "div",
        "truediv": "div",
        "matmul": "matmul",
        "pow": "pow",
    }.items()
}


def activation_name(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str | None:
    """The activation that an operation is, or None."""
    name = _SPELLINGS.get(name, name)
    if name == "clamp":
        return _clamp_name(_argument(args, kwargs, 1, "min"), _argument(args, kwargs, 2, "max"))
    if name == "hardtanh":
        low = _argument(args, kwargs, 1, "min_val")
        high = _argument(args, kwargs, 2, "max_val")
        return "relu6" if (low, high) == (0, 6) else "hardtanh"
    return name if name in ELEMENTWISE or name in _WIDE - {ATTENTION} else None


def _clamp_name(low: Any, high: Any) -> str | None:
    if isinstance(low, Tensor) or isinstance(high, Tensor):
        return None
    if low == 0:
        return "relu" if high is None else "relu6" if high == 6 else "hardtanh"
    return None if low is None or high is None else "hardtanh"


def _argument(args: Sequence[Any], kwargs: Mapping[str, Any], place: int, name: str) -> Any:
    return kwargs.get(name, args[place] if len(args) > place else None)


@dataclass(frozen=True)
class Applied:
    """An activation as a function of a tensor, with the settings of one call.

    Attributes:
        function: What was called.
        args: Its arguments after the tensor.
        kwargs: Its arguments by name.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    @classmethod
    def of(
        cls,
        name: str,
        function: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
    ) -> "Applied | None":
        """The activation of a call; None if it is not a function of one number."""
        settings = tuple(args[1:])
        wide = any(isinstance(value, Tensor) and value.numel() > 1 for value in settings)
        if name in _WIDE or wide or not args:
            return None
        named = {key: value for key, value in kwargs.items() if key not in ("out", "inplace")}
        return cls(function, settings, named)

    def __call__(self, tensor: Tensor) -> Tensor:
        """The activation of a tensor. The tensor is not changed, even if the call was in place."""
        return self.function(tensor.clone(), *self.args, **self.kwargs)  # type: ignore[no-any-return]


def class_name(module: torch.nn.Module) -> str:
    """The name of an activation module: its class in lower case, in the usual spelling."""
    name = type(module).__name__.lower().removesuffix("activation") or "activation"
    return _CLASSES.get(name, name)


def module_activation(module: torch.nn.Module) -> str | None:
    """The activation that a module of torch is, by its class; None for any other module."""
    if not type(module).__module__.startswith("torch.nn.modules.activation"):
        return None
    bare = type(module).__name__.lower().removesuffix("2d")
    names = (*ELEMENTWISE, *_WIDE)
    return next((name for name in names if name.replace("_", "") == bare), _SPELLINGS.get(bare))
