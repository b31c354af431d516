"""The registry: initializers by name, `register` to add one, `get_initializer` to look one up."""

import copyreg
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, replace
from typing import Any, TypeVar, overload

from initsearch.checks import check_keys
from initsearch.dotted import import_path
from initsearch.errors import ConfigError, quoted, unknown_name
from initsearch.initializers.base import Initializer, name_setting
from initsearch.initializers.function import FunctionInitializer, wrap

InitializerSpec = str | Mapping[str, Any] | Initializer | Callable[..., Any]
Registered = TypeVar("Registered", bound=Callable[..., Any])

# Words of plans, which cannot name an initializer.
_RESERVED = frozenset({"keep"})


@dataclass(frozen=True)
class RegistryEntry:
    """One name of the registry.

    Attributes:
        family: The class behind the name.
        preset: For a preset, the instance that it names; None for a family's own name.
        formula: What is drawn, for the catalogue.
        source: Paper and equation, or framework, for the catalogue.
        alias_of: For an alias, the preset's first name.
        builtin: Whether it is part of initsearch.
    """

    family: type[Initializer]
    preset: Initializer | None = None
    formula: str = ""
    source: str = ""
    alias_of: str | None = None
    builtin: bool = False


_ENTRIES: dict[str, RegistryEntry] = {}


@overload
def register(name: str) -> Callable[[Registered], Registered]: ...
@overload
def register(name: Registered) -> Registered: ...
def register(name: Any) -> Any:
    """Register an initializer of your own: `@register("mine")`, or `@register` for its own name.

    It decorates either a frozen dataclass that derives from `Initializer`, or a function
    `f(tensor, *, fan_in, fan_out, generator)` that takes any of these keyword arguments and fills the
    tensor or returns a new one. Further keyword arguments whose default is a number, a string or a
    boolean become the initializer's tunables.

    Raises:
        ConfigError: The name is taken, reserved or has a dot, or the class is not a frozen dataclass.
    """
    if isinstance(name, str):
        return lambda target: _enter(name, target)
    return _enter(getattr(name, "__name__", ""), name)


def _enter(name: str, target: Any) -> Any:
    _check_name(name, target)
    builtin = str(getattr(target, "__module__", "")).startswith("initsearch.")
    if isinstance(target, type) and issubclass(target, Initializer):
        # Python itself refuses a dataclass that is not frozen below one that is.
        if "__dataclass_fields__" not in vars(target):
            raise ConfigError(
                f"register({name!r}): the class must be a frozen dataclass, but {target.__name__} is not: "
                "put @dataclass(frozen=True) under @register"
            )
        target.name = name
        _ENTRIES[name] = RegistryEntry(target, None, target.formula, target.source, builtin=builtin)
    elif callable(target) and not isinstance(target, type):
        _ENTRIES[name] = RegistryEntry(_wrapped(target, name), None, "the user's own function")
    else:
        raise ConfigError(
            f"register({name!r}): must decorate a function or an Initializer subclass, but got "
            f"{quoted(target)}: derive the class from initsearch.Initializer"
        )
    return target


def _check_name(name: str, target: object) -> None:
    if not name or "." in name or name in _RESERVED:
        raise ConfigError(
            f"register: a name must be text without a dot and not 'keep', but got {quoted(name)}: "
            "choose another"
        )
    held = _ENTRIES.get(name)
    if held is None:
        return
    known = held.family.function if issubclass(held.family, FunctionInitializer) else held.family
    # Running a notebook's cell again, or importlib.reload, defines the same thing again.
    if _home(known) != _home(target):
        raise ConfigError(f"register: the name {name!r} is taken: choose another")


def _home(target: object) -> tuple[object, object]:
    return getattr(target, "__module__", None), getattr(target, "__qualname__", None)


def preset(name: str, initializer: Initializer, formula: str, source: str) -> None:
    """Register a named setting of a family."""
    family = type(initializer)
    _ENTRIES[_free(name)] = RegistryEntry(family, initializer, formula, source, builtin=True)
    name_setting(initializer, name)


def alias(name: str, of: str) -> None:
    """Register another name of a preset."""
    _ENTRIES[_free(name)] = replace(_ENTRIES[of], alias_of=of)


def _free(name: str) -> str:
    if name in _ENTRIES:
        raise ConfigError(f"initializer: the name {name!r} is taken: choose another")
    return name


def list_initializers() -> list[str]:
    """All names that `get_initializer` knows, in alphabetical order."""
    return sorted(_ENTRIES)


def entries() -> Iterator[tuple[str, RegistryEntry]]:
    """All names with their entries, in the order of registration."""
    return iter(_ENTRIES.items())


def get_initializer(spec: InitializerSpec) -> Initializer:
    """The initializer that `spec` describes.

    Args:
        spec: A name (`"he_normal"`); a mapping (`{"name": "variance_scaling", "factor": 2.0}`, which
            may override a preset's fields too); a dotted path to a function, a class or an instance
            (`"mypackage.inits.mine"`, also as a mapping's name); a function; or an `Initializer`,
            which is returned unchanged.

    Raises:
        ConfigError: Unknown name (with the nearest names), unknown field, or a value that a field
            refuses.
    """
    if isinstance(spec, Initializer):
        return spec
    if isinstance(spec, str):
        return _build(spec, {})
    if isinstance(spec, Mapping):
        settings = dict(spec)
        name = settings.pop("name", None)
        if not isinstance(name, str):
            raise ConfigError(
                f"initializer: a mapping must have a 'name', but got {quoted(dict(spec))}: "
                "write {name: he_normal, ...}"
            )
        return _build(name, settings)
    if isinstance(spec, type) and issubclass(spec, Initializer):
        return _construct(spec, {})
    if callable(spec) and not isinstance(spec, type):
        return _construct(_family_of(spec), {})
    raise ConfigError(
        f"initializer: must be a name, a mapping, a function or an Initializer, but got {quoted(spec)}: "
        "write for instance 'he_normal'"
    )


def _build(name: str, settings: Mapping[str, Any]) -> Initializer:
    entry = _ENTRIES.get(name)
    if entry is not None:
        if entry.preset is not None:
            return _changed(entry.preset, settings)
        return _construct(entry.family, settings)
    if "." not in name:
        raise unknown_name("initializer", name, _ENTRIES)
    target = import_path("initializer", name)
    if isinstance(target, Initializer):
        return _changed(target, settings)
    if isinstance(target, type) and issubclass(target, Initializer):
        return _construct(target, settings)
    if not callable(target) or isinstance(target, type):
        raise ConfigError(
            f"initializer {quoted(name)}: the path must lead to a function, an Initializer subclass or "
            f"an instance, but got {quoted(target)}: correct the path"
        )
    # The path stays the name, even if the function is registered: any process finds it by its path.
    return _construct(_wrapped(target, name), settings)


def _family_of(function: Callable[..., Any]) -> type[Initializer]:
    """The wrapper of a function: under its registered name, or else its dotted path."""
    for name, entry in _ENTRIES.items():
        if issubclass(entry.family, FunctionInitializer) and entry.family.function is function:
            return _wrapped(function, name)
    module, qualname = _home(function)
    # A callable object (a partial, for instance) has no path of its own.
    name = f"{module}.{qualname}" if qualname else f"<{type(function).__name__}>"
    return _wrapped(function, name)


def _wrapped(function: Callable[..., Any], name: str) -> type[FunctionInitializer]:
    """A function's class. It exists in this process only, so its instances are pickled by their spec."""
    family = wrap(function, name)
    copyreg.pickle(family, _reduced)
    return family


def _reduced(initializer: Initializer) -> Any:
    return get_initializer, (initializer.spec(),)


def _changed(initializer: Initializer, settings: Mapping[str, Any]) -> Initializer:
    """The initializer with some fields changed; all fields are checked again."""
    return (
        replace(initializer, **_fields_of(type(initializer), settings)) if settings else initializer
    )


def _construct(family: type[Initializer], settings: Mapping[str, Any]) -> Initializer:
    settings = _fields_of(family, settings)
    for field in fields(family):
        required = field.default is MISSING and field.default_factory is MISSING
        if required and field.name not in settings:
            raise ConfigError(
                f"{_title(family)}: the field {field.name!r} must be given: write {{{field.name}: ...}}"
            )
    return family(**settings)


def _fields_of(family: type[Initializer], settings: Mapping[str, Any]) -> dict[str, Any]:
    """`settings` in the spelling of a family's fields; ConfigError if it has no such field."""
    known = [field.name for field in fields(family)]
    settings = family.translate(settings)
    if settings and not known:
        unknown = quoted(next(iter(settings)))
        raise ConfigError(f"{_title(family)} takes no settings, but got {unknown}: remove it")
    check_keys(f"field of {_title(family)}", settings, known)
    return settings


def _title(family: type[Initializer]) -> str:
    return family.name or family.__qualname__
