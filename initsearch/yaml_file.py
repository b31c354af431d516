"""Reading a YAML file that may hold anything: its content, or one `ConfigError` of one line."""

import os
from pathlib import Path

import yaml

from initsearch.errors import ConfigError, quoted, shortened


def read_yaml(title: str, path: str | os.PathLike[str]) -> object:
    """The content of a YAML file: mappings, lists, texts and numbers, never objects of Python.

    Args:
        title: What the file is, for the error (`plan file`).
        path: The file, in UTF-8.

    Raises:
        ConfigError: The file cannot be read, or it is not YAML.
    """
    name = f"{title} {quoted(os.fspath(path))}"
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{name} cannot be read: {error.strerror}; correct the path") from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{name} must be text in UTF-8, but has {error.reason}: save it so"
        ) from error
    except ValueError as error:  # a NUL in the path
        raise ConfigError(f"{name} cannot be read: {error}; correct the path") from error
    try:
        return yaml.safe_load(text)
    except RecursionError as error:
        raise ConfigError(
            f"{name} is nested too deeply: remove levels of lists or mappings"
        ) from error
    except Exception as error:
        # A tag that does not fit its value (`!!int x`, `!!timestamp x`) raises whatever Python raised.
        reason = shortened(" ".join(str(error).split()))
        raise ConfigError(
            f"{name} is not YAML ({type(error).__name__}: {reason}): correct the file"
        ) from error
