"""The table of initializers by name, and the ways to enter it and to read it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, replace
from typing import Any, TypeVar, overload

from initsearch.dotted import import_path
from initsearch.errors import ConfigError, unknown_name
from initsearch.initializers.base import Initializer
from initsearch.initializers.function import FunctionInitializer, wrap

InitializerSpec = str | Mapping[str, Any] | Initializer | Callable[..., Any]
Registered = TypeVar("Registered", bound=Callable[..., Any])

# Names that mean something to a plan and so cannot be an initializer's.
_RESERVED = frozenset({"keep"})


@dataclass(frozen=True)
class Entry:
    """One name of the registry.

    Attributes:
        family: The class behind the name.
        preset: For a preset, the instance it stands for; None for a family's own name.
        formula: What is drawn, for the catalogue.
        source: Where it comes from, for the catalogue.
        alias_of: The preset's first name, when this is another name of the same.
        builtin: Whether initsearch itself brings it.
    """

    family: type[Initializer]
    preset: Initializer | None = None
    formula: str = ""
    source: str = ""
    alias_of: str | None = None
    builtin: bool = False


_ENTRIES: dict[str, Entry] = {}
_PRESET_NAMES: dict[Initializer, str] = {}


@overload
def register(name: str) -> Callable[[Registered], Registered]: ...
@overload
def register(name: Registered) -> Registered: ...
def register(name: Any) -> Any:
    """Enter an initializer of one's own: `@register("mine")`, or `@register` for its own name.

    It decorates either a frozen dataclass that derives from `Initializer`, or a plain function
    `f(tensor, *, fan_in, fan_out, generator)` that takes any subset of these keyword arguments and
    fills the tensor or returns a new one. Further keyword arguments with a number, text or truth
    value as default become the initializer's tunables.

    Raises:
        ConfigError: The name is taken, reserved or has a dot; the class is not a frozen dataclass.
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
                f"register({name!r}): the class must be a frozen dataclass, got "
                f"{target.__name__}; put @dataclass(frozen=True) under @register"
            )
        target.name = name
        _ENTRIES[name] = Entry(target, None, target.formula, target.source, builtin=builtin)
    elif callable(target) and not isinstance(target, type):
        _ENTRIES[name] = Entry(wrap(target, name), None, "the user's own function")
    else:
        raise ConfigError(
            f"register({name!r}): must decorate a function or an Initializer subclass, got "
            f"{target!r}; derive the class from initsearch.Initializer"
        )
    return target


def _check_name(name: str, target: object) -> None:
    if not name or "." in name or name in _RESERVED:
        raise ConfigError(
            f"register: a name must be text without a dot and not 'keep', got {name!r}; "
            "choose another"
        )
    held = _ENTRIES.get(name)
    if held is None:
        return
    known = held.family.function if issubclass(held.family, FunctionInitializer) else held.family
    # Running a notebook's cell or importlib.reload defines the same thing again.
    if _home(known) != _home(target):
        raise ConfigError(f"register: the name {name!r} is taken; choose another")


def _home(target: object) -> tuple[object, object]:
    return getattr(target, "__module__", None), getattr(target, "__qualname__", None)


def preset(name: str, initializer: Initializer, formula: str, source: str) -> None:
    """Enter a named setting of a family."""
    _ENTRIES[_free(name)] = Entry(type(initializer), initializer, formula, source, builtin=True)
    _PRESET_NAMES.setdefault(initializer, name)


def alias(name: str, of: str) -> None:
    """Enter another name of a preset."""
    _ENTRIES[_free(name)] = replace(_ENTRIES[of], alias_of=of)


def _free(name: str) -> str:
    if name in _ENTRIES:
        raise ConfigError(f"initializer: the name {name!r} is taken; choose another")
    return name


def preset_name(initializer: Initializer) -> str | None:
    """The first preset entered that equals `initializer`, if any."""
    return _PRESET_NAMES.get(initializer)


def list_initializers() -> list[str]:
    """All names that `get_initializer` knows, in alphabetical order."""
    return sorted(_ENTRIES)


def entries() -> Iterator[tuple[str, Entry]]:
    """Names with what stands behind them, in the order of registration."""
    return iter(_ENTRIES.items())


def get_initializer(spec: InitializerSpec) -> Initializer:
    """The initializer that `spec` describes.

    Args:
        spec: A name (`"he_normal"`), a mapping (`{"name": "variance_scaling", "factor": 2.0}`; a
            preset's fields can be overridden too), a dotted path to a function, a class or an
            instance (`"mypackage.inits.mine"`, also as a mapping's name), a function, or an
            `Initializer`, which is returned as it is.

    Raises:
        ConfigError: Unknown name (with near ones), unknown field, or a value a field refuses.
    """
    if isinstance(spec, Initializer):
        return spec
    if isinstance(spec, str):
        return _build(spec, {})
    if isinstance(spec, Mapping):
        settings = {str(key): value for key, value in spec.items()}
        name = settings.pop("name", None)
        if not isinstance(name, str):
            raise ConfigError(
                f"initializer: a mapping must have a 'name', got {dict(spec)!r}; "
                "write {name: he_normal, ...}"
            )
        return _build(name, settings)
    if isinstance(spec, type) and issubclass(spec, Initializer):
        return _construct(spec, {})
    if callable(spec) and not isinstance(spec, type):
        return _construct(_family_of(spec), {})
    raise ConfigError(
        f"initializer: must be a name, a mapping, a function or an Initializer, got {spec!r}; "
        "write for instance 'he_normal'"
    )


def _build(name: str, settings: Mapping[str, Any]) -> Initializer:
    entry = _ENTRIES.get(name)
    if entry is not None:
        if entry.preset is not None:
            return entry.preset._with(settings) if settings else entry.preset
        return _construct(entry.family, settings)
    if "." not in name:
        raise unknown_name("initializer", name, _ENTRIES)
    target = import_path("initializer", name)
    if isinstance(target, Initializer):
        return target._with(settings) if settings else target
    if isinstance(target, type) and issubclass(target, Initializer):
        return _construct(target, settings)
    if not callable(target) or isinstance(target, type):
        raise ConfigError(
            f"initializer {name!r}: the path must lead to a function, an Initializer subclass or "
            f"an instance, got {target!r}; point it at one"
        )
    # The path stays the name, also for a registered function: a plan file that holds it says where
    # to find it, in any process.
    return _construct(wrap(target, name), settings)


def _family_of(function: Callable[..., Any]) -> type[Initializer]:
    """The wrapper of a bare function: under its registered name, else its dotted path."""
    for name, entry in _ENTRIES.items():
        if issubclass(entry.family, FunctionInitializer) and entry.family.function is function:
            return wrap(function, name)
    module, qualname = _home(function)
    # An object that is called (a partial, say) has no path of its own.
    return wrap(function, f"{module}.{qualname}" if qualname else f"<{type(function).__name__}>")


def _construct(family: type[Initializer], settings: Mapping[str, Any]) -> Initializer:
    known = {field.name: field for field in fields(family)}
    settings = family.translate(settings)
    title = family.name or family.__qualname__
    for key in settings:
        if key not in known:
            if not known:
                raise ConfigError(f"{title} takes no settings, got {key!r}; remove it")
            raise unknown_name(f"field of {title}", key, known)
    for key, field in known.items():
        if key not in settings and field.default is MISSING and field.default_factory is MISSING:
            raise ConfigError(f"{title}: the field {key!r} must be given; write {{{key}: ...}}")
    return family(**settings)
