"""Packages whose public names are imported when they are first used (PEP 562)."""

import pkgutil
import sys
from collections.abc import Callable, Mapping
from typing import Any


def lazy_exports(
    package: str, modules: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The `__getattr__` and `__dir__` of a package that imports its public names on first use.

    Args:
        package: The package's `__name__`.
        modules: By public name, the module that defines it, relative to the package (`store.places`). If empty,
            the name is that of a module of the package, as `initsearch.race`.

    Returns:
        The two functions, for the package's `__init__` to assign.
    """

    def get(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        place = f"{package}.{modules[name]}:{name}" if modules[name] else f"{package}.{name}"
        value = pkgutil.resolve_name(place)
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *modules})

    return get, names
