"""A user's own function as an initializer."""

import functools
import inspect
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, make_dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from initsearch.errors import ConfigError
from initsearch.initializers.base import Initializer

_OFFERED = ("fan_in", "fan_out", "generator")
_SETTABLE = (bool, int, float, str)


@dataclass(frozen=True)
class FunctionInitializer(Initializer):
    """Base of the wrappers that `wrap` makes, one class per function.

    The function may draw from the generator it is given or from the global ones of torch, Python
    and NumPy: these are set from the generator during the call and put back afterwards, so that its
    values depend on the generator alone. Without a generator it draws from the global state.
    """

    function: ClassVar[Callable[..., Any]]
    offered: ClassVar[tuple[str, ...]] = ()
    reachable: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for tunable in fields(self):
            value = getattr(self, tunable.name)
            if value is not None and not isinstance(value, _SETTABLE):
                raise ConfigError(
                    f"{self.name}: {tunable.name} must be a number, text or true/false, got {value!r}; "
                    "a plan file holds nothing else"
                )

    def _draw_(
        self, out: Tensor, fan_in: float, fan_out: float, generator: torch.Generator | None
    ) -> None:
        offers = {"fan_in": fan_in, "fan_out": fan_out, "generator": generator}
        arguments = {key: offers[key] for key in self.offered}
        arguments |= {each.name: getattr(self, each.name) for each in fields(self)}
        function = type(self).function
        with _global_generators_from(generator, out.device):
            result = function(out, **arguments)
        if isinstance(result, Tensor):
            if result.shape != out.shape:
                raise ConfigError(
                    f"{self.name}: the function must return the shape it was given "
                    f"{tuple(out.shape)}, got {tuple(result.shape)}; fill the tensor in place"
                )
            if result is not out:
                out.copy_(result)
        elif result is not None:
            raise ConfigError(
                f"{self.name}: the function must fill its tensor or return one, got a "
                f"{type(result).__name__}; return nothing or a tensor"
            )

    def spec(self) -> dict[str, Any]:
        """As `Initializer.spec`; raises ConfigError for a function that no name leads to."""
        if not self.reachable:
            raise ConfigError(
                f"{self.name}: a lambda or local function cannot be written into a plan file; "
                "define it at a module's top level or put @initsearch.register on it"
            )
        return super().spec()

    def __reduce__(self) -> tuple[Any, ...]:
        # The class is made at run time: pickle by what leads to it.
        from initsearch.initializers.registry import get_initializer

        return get_initializer, (self.spec(),)

    def __copy__(self) -> "FunctionInitializer":
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> "FunctionInitializer":
        return self


@functools.cache
def wrap(function: Callable[..., Any], name: str) -> type[FunctionInitializer]:
    """A frozen dataclass that fills a tensor by `function`.

    Args:
        function: `f(tensor, ...)`. Of its other parameters, `fan_in`, `fan_out` and `generator` are
            passed in; those with a number, text or truth value as default, or with none, become
            fields; others keep their default.
        name: The registry's name or the dotted path that leads to it; one with a `<` (a lambda's, a
            local function's) leads nowhere, so that `spec` refuses.

    Raises:
        ConfigError: It takes no tensor, or has a parameter named as a method of `Initializer`.
    """
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except ValueError as error:
        raise ConfigError(
            f"{name}: the signature of {function!r} cannot be read; wrap it in a def"
        ) from error
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    if not parameters or parameters[0].kind not in positional:
        raise ConfigError(
            f"{name}: the function must take the tensor as its first argument, got "
            f"{inspect.signature(function)}; write def f(tensor, ...)"
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
                f"{name}: an argument cannot be called {tunable!r}, which every initializer has; "
                "rename it"
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


@contextmanager
def _global_generators_from(
    generator: torch.Generator | None, device: torch.device
) -> Iterator[None]:
    """Set the global generators from `generator` for a while, then put their states back."""
    if generator is None:
        yield
        return
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    # NumPy is only looked at when somebody has loaded it: this package does not need it.
    numpy = sys.modules.get("numpy")
    python_state = random.getstate()
    numpy_state = numpy.random.get_state() if numpy else None
    gpus = [device.index or 0] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=gpus):
        try:
            # torch.manual_seed would reseed every GPU; only the tensor's own is put back.
            torch.default_generator.manual_seed(seed)
            for gpu in gpus:
                torch.cuda.default_generators[gpu].manual_seed(seed)
            random.seed(seed)
            if numpy:
                numpy.random.seed(seed % 2**32)
            yield
        finally:
            random.setstate(python_state)
            if numpy:
                numpy.random.set_state(numpy_state)
