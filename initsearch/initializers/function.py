"""Users' own functions as initializers."""

import functools
import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, fields, make_dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from initsearch.errors import ConfigError, quoted
from initsearch.initializers.base import Initializer
from initsearch.random_state import isolated_random_state

_OFFERED = ("fan_in", "fan_out", "generator")
_SETTABLE = (bool, int, float, str)


@dataclass(frozen=True)
class FunctionInitializer(Initializer):
    """Base of the classes that `wrap` makes, one per function.

    The function may draw from the generator that it gets, or from the global generators of torch,
    Python and NumPy. Those are seeded from the generator during the call and restored afterwards: the
    values depend on the generator alone. Without a generator, the function draws from the global state.
    """

    function: ClassVar[Callable[..., Any]]
    offered: ClassVar[tuple[str, ...]] = ()
    reachable: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for tunable in fields(self):
            value = getattr(self, tunable.name)
            if value is not None and not isinstance(value, _SETTABLE):
                raise ConfigError(
                    f"{self.name}: {tunable.name} must be a number, text or true/false, but got "
                    f"{quoted(value)}: a plan file holds nothing else"
                )

    def _draw_(
        self, out: Tensor, fan_in: float, fan_out: float, generator: torch.Generator | None
    ) -> None:
        offers = {"fan_in": fan_in, "fan_out": fan_out, "generator": generator}
        arguments = {key: offers[key] for key in self.offered}
        arguments |= {each.name: getattr(self, each.name) for each in fields(self)}
        function = type(self).function
        with _seeded_from(generator, out.device):
            result = function(out, **arguments)
        if isinstance(result, Tensor):
            if result.shape != out.shape:
                raise ConfigError(
                    f"{self.name}: the function must return the shape {tuple(out.shape)} that it was "
                    f"given, but got {tuple(result.shape)}: fill the tensor in place"
                )
            if result is not out:
                out.copy_(result)
        elif result is not None:
            raise ConfigError(
                f"{self.name}: the function must fill its tensor or return one, but got a "
                f"{type(result).__name__}: return nothing or a tensor"
            )

    def spec(self) -> dict[str, Any]:
        """As `Initializer.spec`; ConfigError for a function that cannot be found by a name."""
        if not self.reachable:
            raise ConfigError(
                f"{self.name}: a lambda or local function cannot be written into a plan file: "
                "define it at a module's top level or put @initsearch.register on it"
            )
        return super().spec()

    def __copy__(self) -> "FunctionInitializer":
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> "FunctionInitializer":
        return self


@functools.cache
def wrap(function: Callable[..., Any], name: str) -> type[FunctionInitializer]:
    """A frozen dataclass that fills a tensor by calling `function`.

    Args:
        function: `f(tensor, ...)`. It gets `fan_in`, `fan_out` and `generator` if it has parameters of
            these names. Parameters without a default, or whose default is a number, a string or a
            boolean, become fields; all others keep their default.
        name: Its registered name or its dotted path. One with a `<` (of a lambda or a local function)
            cannot be looked up, and `spec` refuses it.

    Raises:
        ConfigError: The function takes no tensor, or has a parameter that is named like a method of
            `Initializer`.
    """
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except ValueError as error:
        raise ConfigError(
            f"{name}: the signature of {quoted(function)} cannot be read: wrap it in a def"
        ) from error
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    if not parameters or parameters[0].kind not in positional:
        raise ConfigError(
            f"{name}: the function must take the tensor as its first argument, but got "
            f"{inspect.signature(function)}: write def f(tensor, ...)"
        )
    offered: list[str] = []
    tunables: list[tuple[str, Any, Any]] = []
    for parameter in parameters[1:]:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if parameter.name in _OFFERED:
            offered.append(parameter.name)
        elif parameter.default is parameter.empty:
            tunables.append((parameter.name, Any, field()))
        elif isinstance(parameter.default, _SETTABLE):
            tunables.append((parameter.name, Any, field(default=parameter.default)))
    for tunable, _, _ in tunables:
        if hasattr(Initializer, tunable):
            raise ConfigError(
                f"{name}: an argument cannot be named {tunable!r}, which every initializer has: rename it"
            )
    return make_dataclass(
        "FunctionInitializer",
        tunables,
        bases=(FunctionInitializer,),
        frozen=True,
        kw_only=True,
        namespace={
            "__doc__": inspect.getdoc(function) or f"The function {name}.",
            "name": name,
            "function": staticmethod(function),
            "offered": tuple(offered),
            "reachable": "<" not in name,
        },
    )


def _seeded_from(
    generator: torch.Generator | None, device: torch.device
) -> AbstractContextManager[None]:
    """Seed the global generators from `generator`, and restore their states afterwards."""
    if generator is None:
        return nullcontext()
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    return isolated_random_state(seed=seed, devices=[device])
