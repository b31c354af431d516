"""Names that are dotted paths."""

import importlib
import sysconfig
import traceback
from pathlib import Path

from initsearch.errors import ConfigError


def import_path(argument: str, path: str) -> object:
    """What a dotted path (`package.module.attribute`) leads to.

    Args:
        argument: What is being chosen, for the error.
        path: At least one dot.

    Raises:
        ConfigError: No such module or attribute, or a module that cannot be imported.
    """
    parts = path.split(".")
    if not all(parts):
        raise ConfigError(f"{argument} {path!r}: a path is names with a dot between; correct it")
    for cut in range(len(parts) - 1, 0, -1):
        module_name = ".".join(parts[:cut])
        try:
            target: object = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            # Only "this very module does not exist" is ours to explain, not an import inside of it.
            missing = error.name or ""
            if module_name != missing and not module_name.startswith(missing + "."):
                raise _broken(argument, path, module_name, error) from error
            continue
        except Exception as error:  # a module of the user's own may raise whatever it likes
            raise _broken(argument, path, module_name, error) from error
        for attribute in parts[cut:]:
            if not hasattr(target, attribute):
                raise ConfigError(
                    f"{argument} {path!r}: module {module_name!r} has no "
                    f"{'.'.join(parts[cut:])!r}; correct the path"
                )
            target = getattr(target, attribute)
        return target
    raise ConfigError(
        f"{argument} {path!r}: no module {parts[0]!r} is importable; correct the path or install "
        "the package"
    )


def _broken(argument: str, path: str, module: str, error: Exception) -> ConfigError:
    """Where in which file a module's import went wrong, and how."""
    if isinstance(error, SyntaxError):
        reason, file, line = error.msg, error.filename, error.lineno
    else:
        frames = traceback.extract_tb(error.__traceback__)
        # A library's own lines say nothing to whoever calls it in a wrong way.
        own = [frame for frame in frames if not _is_library(frame.filename)]
        last = (own or frames)[-1]
        reason, file, line = str(error), last.filename, last.lineno
    return ConfigError(
        f"{argument} {path!r}: module {module!r} cannot be imported "
        f"({type(error).__name__}: {' '.join(reason.split())}; {file}, line {line}): mend it"
    )


def _is_library(file: str) -> bool:
    """Whether a file is Python's own (`<frozen importlib>` as well), an installed package's or initsearch's."""
    path = Path(file)
    if not path.is_absolute() or {"site-packages", "dist-packages"} & set(path.parts):
        return True
    python = (sysconfig.get_path(name) for name in ("stdlib", "platstdlib"))
    return any(map(path.is_relative_to, [*python, str(Path(__file__).parent)]))
