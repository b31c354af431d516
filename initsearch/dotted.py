"""Dotted paths to Python code (`package.module.attribute`), and which of them may be imported."""

import importlib
import operator
import sysconfig
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import Any

from initsearch.errors import ConfigError, InitSearchError, quoted, shortened

# The only paths that may be imported; None: any.
_allowed: ContextVar[tuple[str, ...] | None] = ContextVar("allowed_code", default=None)


@contextmanager
def only_allowed(allow_code: Sequence[str]) -> Iterator[None]:
    """Within it, dotted paths lead to code only if they are allowed by name: for files of unknown origin.

    Args:
        allow_code: Dotted names. Each allows the path of that name, and whatever is defined in a module or
            package of that name; not what such a module has imported from elsewhere.

    Raises:
        ConfigError: `allow_code` is not a list of names.
    """
    token = _allowed.set(allowed_names(allow_code))
    try:
        yield
    finally:
        _allowed.reset(token)


def allowed_names(allow_code: object) -> tuple[str, ...]:
    """The names of an `allow_code`; one name may stand for a list of one.

    Raises:
        ConfigError: It is not a list of names.
    """
    names = (allow_code,) if isinstance(allow_code, str) else allow_code
    if not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
        raise ConfigError(
            f"allow_code must be a list of dotted names, but got {quoted(allow_code)}: "
            "write for instance allow_code=('mypackage.init',)"
        )
    return tuple(names)


def check_allowed(argument: str, path: str) -> None:
    """Refuse a dotted path that may not be imported here; see `only_allowed`.

    Args:
        argument: What is being chosen, for the error.
        path: The dotted path.

    Raises:
        ConfigError: It is not allowed.
    """
    allowed = _allowed.get()
    if allowed is not None and not any(_within(path, name) for name in allowed):
        raise _refusal(argument, path)


def import_path(argument: str, path: str) -> object:
    """What a dotted path leads to.

    Args:
        argument: What is being chosen, for the error.
        path: At least one dot.

    Raises:
        ConfigError: No such module or attribute, a module that cannot be imported, or a path that is not
            allowed here.
    """
    parts = path.split(".")
    if not all(part.isidentifier() for part in parts):
        raise ConfigError(
            f"{argument} {quoted(path)}: a path is Python names with dots between; correct it"
        )
    check_allowed(argument, path)
    for cut in range(len(parts) - 1, 0, -1):
        module_name = ".".join(parts[:cut])
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            # Only "this very module does not exist" is ours to explain, not an import inside of it.
            missing = error.name or ""
            if module_name != missing and not module_name.startswith(missing + "."):
                raise _broken(argument, path, module_name, error) from error
            continue
        except (Exception, SystemExit) as error:  # a module of the user's own may raise anything
            raise _broken(argument, path, module_name, error) from error
        attributes = ".".join(parts[cut:])
        try:
            target: object = operator.attrgetter(attributes)(module)
        except AttributeError as error:
            raise ConfigError(
                f"{argument} {quoted(path)}: module {module_name!r} has no {attributes!r}; "
                "correct the path"
            ) from error
        except Exception as error:  # a module's own `__getattr__` may raise anything
            raise _broken(argument, path, module_name, error) from error
        _check_home(argument, path, target)
        return target
    raise ConfigError(
        f"{argument} {quoted(path)}: no module {parts[0]!r} is importable; correct the path or install "
        "the package"
    )


def instantiated(argument: str, value: object) -> Any:
    """A configuration's value with each mapping that has a `_target_` called, the innermost first, as by Hydra.

    `_partial_: true` gives the callable with its arguments, to be called later.

    Args:
        argument: What is being chosen, for the error.
        value: Plain data.

    Raises:
        ConfigError: No such callable, or it raises an error.
    """
    if isinstance(value, list | tuple):
        return [instantiated(argument, part) for part in value]
    if not isinstance(value, Mapping):
        return value
    built = {key: instantiated(f"{argument}.{key}", part) for key, part in value.items()}
    if "_target_" not in built:
        return built
    path, is_partial = str(built.pop("_target_")), built.pop("_partial_", False)
    target: Any = import_path(f"{argument}._target_", path)
    try:
        return partial(target, **built) if is_partial else target(**built)
    except InitSearchError:
        raise
    except Exception as error:  # a user's callable may raise anything
        raise ConfigError(
            f"{argument}._target_ {quoted(path)} cannot be called ({type(error).__name__}: "
            f"{shortened(' '.join(str(error).split()))}): correct the settings under {argument}"
        ) from error


def _within(path: str, name: str) -> bool:
    """Whether a path is a name, or lies below it."""
    return path == name or path.startswith(f"{name}.")


def _check_home(argument: str, path: str, target: object) -> None:
    """Refuse what an allowed module has only imported: `mypackage.init.os.system`."""
    allowed = _allowed.get()
    if allowed is None or path in allowed:
        return
    home = target if isinstance(target, type) or hasattr(target, "__qualname__") else type(target)
    module = str(getattr(home, "__module__", ""))
    if not any(_within(path, name) and _within(module, name) for name in allowed):
        raise _refusal(argument, path)


def _refusal(argument: str, path: str) -> ConfigError:
    return ConfigError(
        f"{argument} {quoted(path)} is a path to Python code, which a file may name only if that is allowed "
        "by name, also in the winner.yaml of your own study: if you trust it, pass "
        f"allow_code=({quoted(path)},) to InitPlan.load, InitCallback or diagnose, or add "
        f"'allow_code=[{shortened(path)}]' on the command line"
    )


def _broken(argument: str, path: str, module: str, error: BaseException) -> ConfigError:
    """Why a module cannot be imported: the error, and where in which file it was raised."""
    if isinstance(error, SyntaxError):
        reason, file, line = error.msg, error.filename, error.lineno
    else:
        frames = traceback.extract_tb(error.__traceback__)
        # The line that called a library in a wrong way helps more than the library's own.
        own = [frame for frame in frames if not _is_library(frame.filename)]
        last = (own or frames)[-1]
        reason, file, line = str(error), last.filename, last.lineno
    return ConfigError(
        f"{argument} {quoted(path)}: module {module!r} cannot be imported ({type(error).__name__}: "
        f"{shortened(' '.join(reason.split()))}; {file}, line {line}): fix the module"
    )


def _is_library(file: str) -> bool:
    """Whether a file belongs to Python (`<frozen importlib>` too), an installed package or initsearch."""
    path = Path(file)
    if not path.is_absolute() or {"site-packages", "dist-packages"} & set(path.parts):
        return True
    python = (sysconfig.get_path(name) for name in ("stdlib", "platstdlib"))
    return any(map(path.is_relative_to, [*python, str(Path(__file__).parent)]))
