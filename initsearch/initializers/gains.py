"""Gains: the factor on the weights that compensates for the activation that follows."""

import functools
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from initsearch.checks import check_choice
from initsearch.dotted import import_path
from initsearch.errors import ConfigError, quoted, unknown_name
from initsearch.initializers.quadrature import Activation, second_moment, slope_moment

GAINS = ("second_moment", "chi", "torch")

_ACTIVATIONS: dict[str, Callable[..., Tensor]] = {
    "celu": F.celu,
    "elu": F.elu,
    "gelu": F.gelu,
    "gelu_tanh": functools.partial(F.gelu, approximate="tanh"),
    "hardshrink": F.hardshrink,
    "hardsigmoid": F.hardsigmoid,
    "hardswish": F.hardswish,
    "hardtanh": F.hardtanh,
    "leaky_relu": F.leaky_relu,
    "linear": nn.Identity(),
    "logsigmoid": F.logsigmoid,
    "mish": F.mish,
    "none": nn.Identity(),
    "prelu": functools.partial(F.leaky_relu, negative_slope=0.25),
    "relu": F.relu,
    "relu6": F.relu6,
    "rrelu": F.rrelu,
    "selu": F.selu,
    "sigmoid": torch.sigmoid,
    "silu": F.silu,
    "sin": torch.sin,
    "softplus": F.softplus,
    "softshrink": F.softshrink,
    "softsign": F.softsign,
    "swish": F.silu,
    "tanh": torch.tanh,
    "tanhshrink": F.tanhshrink,
}
# The keyword of `param`, for the activations that have a parameter.
_PARAMETERS = {
    "celu": "alpha",
    "elu": "alpha",
    "hardshrink": "lambd",
    "leaky_relu": "negative_slope",
    "prelu": "negative_slope",
    "softplus": "beta",
    "softshrink": "lambd",
}


def list_activations() -> list[str]:
    """The activations that gains know by name; all others go by their dotted path."""
    return sorted(_ACTIVATIONS)


def find_activation(name: str, param: float | None = None) -> Activation:
    """The function of a name or a dotted path.

    Args:
        name: One of `list_activations()`, or the path of a function or a `Module` class.
        param: Its parameter: the slope of leaky_relu and prelu, the alpha of elu and celu, the beta of
            softplus, the lambda of hardshrink and softshrink; for a path, the function's first argument
            after the tensor, or the class's first argument. Default: the activation's own.

    Raises:
        ConfigError: Unknown name (with the nearest names), wrong path, or a parameter for an activation
            that has none.
    """
    if name in _ACTIVATIONS:
        if param is None:
            return _ACTIVATIONS[name]
        if name not in _PARAMETERS:
            raise ConfigError(
                f"activation {name!r} has no parameter, but got param={quoted(param)}: leave it out"
            )
        return functools.partial(_ACTIVATIONS[name], **{_PARAMETERS[name]: param})
    if "." not in name:
        raise unknown_name("activation", name, _ACTIVATIONS)
    target = import_path("activation", name)
    extra = () if param is None else (param,)
    if isinstance(target, type) and issubclass(target, nn.Module):
        module: nn.Module = target(*extra)
        return module
    if not callable(target) or isinstance(target, type):
        raise ConfigError(
            f"activation {quoted(name)}: the path must lead to a function or a Module class, but got "
            f"{quoted(target)}: correct the path"
        )
    function: Callable[..., Tensor] = target
    return (lambda z: function(z, *extra)) if extra else function


def gain(
    activation: str | Activation, method: str = "second_moment", param: float | None = None
) -> float:
    """The factor on a weight's standard deviation 1 / sqrt(n) that suits `activation`.

    Methods:
        second_moment: 1 / sqrt(E[phi(z)^2]), z ~ N(0, 1): activations keep a mean square of 1 when
            pre-activations have variance 1 (He et al. 2015 for ReLU; here for any phi). relu 1.4142,
            gelu 1.5335, silu 1.6765, tanh 1.5925, selu 1, elu 1.2452, sigmoid 1.8462.
        chi: 1 / sqrt(E[phi'(z)^2]), z ~ N(0, 1): gradients keep their mean square, chi_1 = 1 at
            variance 1 (Schoenholz et al. 2017). relu 1.4142, gelu 1.4811, silu 1.6233, tanh 1.4674.
        torch: the table of `torch.nn.init.calculate_gain`: tanh 5/3, selu 3/4 (the paper has 1, see
            pytorch#24991), sigmoid 1; it lacks gelu, silu, elu and others.

    Args:
        activation: A name, a dotted path, a function or a module (copied, in evaluation mode).
        method: "second_moment", "chi" or "torch".
        param: See `find_activation`; only for a name or path.

    Raises:
        ConfigError: Unknown activation or method; an activation that does not work entry by entry, or
            that is zero or not finite; one that torch's table lacks.
    """
    check_choice("gain method", method, GAINS)
    if isinstance(activation, str):
        return _named_gain(activation, method, param)
    if param is not None:
        raise ConfigError(
            f"gain: param needs an activation by name, but got param={quoted(param)} for "
            f"{quoted(activation)}: set it on the module"
        )
    if method == "torch":
        raise ConfigError(
            f"gain: torch's table goes by name, but got {quoted(activation)}: name the activation or use "
            "method second_moment"
        )
    return _computed_gain(activation, quoted(activation), method)


@functools.cache
def _named_gain(name: str, method: str, param: float | None) -> float:
    if method != "torch":
        return _computed_gain(find_activation(name, param), name, method)
    known = ("linear", "none", "sigmoid", "tanh", "relu", "leaky_relu", "selu")
    if name not in known:
        raise ConfigError(
            f"gain: torch's table has {', '.join(known)}, but got {quoted(name)}: use gain: "
            "second_moment or chi"
        )
    find_activation(name, param)
    # torch's annotation lists the names as literals.
    return float(nn.init.calculate_gain("linear" if name == "none" else name, param))  # type: ignore[arg-type]


def _computed_gain(activation: Activation, title: str, method: str) -> float:
    moment = second_moment if method == "second_moment" else slope_moment
    value = moment(activation)
    if not value > 1e-12:
        raise ConfigError(
            f"gain: {title} must not be zero, but has a mean square of {value:g} for method {method}: "
            "give the scale as variance_scaling(factor=...) instead"
        )
    return 1 / math.sqrt(value)
