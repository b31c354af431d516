"""What goes wrong while Hydra composes a configuration, as one line each: the setting, the rule, the remedy.

Hydra, OmegaConf and YAML raise errors of many kinds, of which some have no text and others a traceback's.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from initsearch.checks import is_list
from initsearch.errors import ConfigError, InitSearchError, quoted, shortened, unknown_name
from initsearch.shipped_configs import conf_dir
from initsearch.yaml_file import read_yaml

#: How Hydra begins the message on an override that does not fit the configuration.
_NO_PLACE = re.compile(r"Could not (?:override|delete from config\.) '([^']+)'")
#: How Hydra names the file of a configuration in which it found an error, without its ending.
_IN_FILE = re.compile(r"In '([^']+)'")
#: How Hydra begins the message on an override that has another form than the configuration.
_NO_MERGE = re.compile(r"Error merging override ([^=]+)=(.*)", re.DOTALL)


def composition_error(
    error: Exception, config_name: str, arguments: Sequence[str]
) -> InitSearchError:
    """An error for what was raised while a configuration was composed or read.

    Args:
        error: What was raised.
        config_name: The configuration's name.
        arguments: The words of the command line.
    """
    if isinstance(error, InitSearchError):
        return error
    if isinstance(error, MissingConfigException):
        group, _, name = (error.missing_cfg_file or "").rpartition("/")
        if group and error.options:
            return unknown_name(group, name, error.options)
    if isinstance(error, HydraException):
        found = _misplaced(error, config_name, arguments)
        found = found or _misshapen(str(error), config_name, arguments)
        if found is not None:
            return found
    if isinstance(error, OSError) and error.filename is not None:
        return ConfigError(
            f"cannot use {error.filename!r} ({error.strerror}): correct the path, or leave the setting out; "
            "results are written to output_dir"
        )
    return _unexplained(error)


def _unexplained(error: Exception) -> ConfigError:
    """The first line of what a library says, and what it says it about."""
    cause = error.__cause__
    if isinstance(cause, OmegaConfBaseException):  # Hydra's own text is empty, or less exact
        error = cause
    lines = str(error).strip().splitlines() or [type(error).__name__]
    what = shortened(lines[0] if isinstance(error, OmegaConfBaseException) else " ".join(lines))
    if isinstance(error, RecursionError):
        what = "it is nested too deeply, or a part contains itself"
    key = getattr(error, "full_key", None)
    subject = f"the setting {shortened(str(key))}" if key else "the configuration"
    return ConfigError(f"{subject} cannot be read ({what}): correct the setting or the file")


def _misplaced(
    error: HydraException, config_name: str, arguments: Sequence[str]
) -> InitSearchError | None:
    """The nearest names for an override that the configuration has no place for; None for another error."""
    found = _NO_PLACE.match(str(error))
    if found is None:
        return None
    key = found[1]
    names = list(_settings_without(key, config_name, arguments))
    if not names:  # the next mistake hides them
        return None
    inside = str(getattr(error.__cause__, "full_key", ""))
    # A mapping whose own keys are right but for this one.
    if key in names and inside.startswith(f"{key}."):
        place, _, wrong = inside.rpartition(".")
        parts = [name.rpartition(".")[2] for name in names if name.rpartition(".")[0] == place]
        near = get_close_matches(wrong, parts, n=1, cutoff=0.7)
        remedy = f"did you mean {near[0]}?" if near else f"write ++{key}=VALUE to add it"
        return ConfigError(f"{place} has no {quoted(wrong)} in this configuration: {remedy}")
    leaf = key.rpartition(".")[2]
    same = [name for name in names if name.rpartition(".")[2] == leaf]
    near = same or get_close_matches(key, names, n=1, cutoff=0.7)
    if near:
        return ConfigError(f"unknown setting {quoted(key)}: did you mean {' or '.join(near)}?")
    return unknown_name("setting", key, (name for name in names if "." not in name))


def _misshapen(message: str, config_name: str, arguments: Sequence[str]) -> InitSearchError | None:
    """The setting that is a list where it must be a mapping, or the other way; None for another error."""
    if (found := _NO_MERGE.match(message)) is not None:
        key, text = found[1].lstrip("+~"), found[2]
        settings = _settings_without(key, config_name, arguments)
        return _rule(key, text, settings[key]) if key in settings else None
    if (found := _IN_FILE.match(message)) is None or "Cannot merge" not in message:
        return None
    given, _ = get_args_parser().parse_known_args(list(arguments))
    folders = [conf_dir(), *([] if given.config_dir is None else [Path(given.config_dir)])]
    files = [folder / f"{found[1]}.yaml" for folder in folders]
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        return None
    content = read_yaml("configuration file", file)
    if not isinstance(content, Mapping):
        return ConfigError(
            f"{str(file)!r} must be a mapping of settings, but is {quoted(content)}: write KEY: VALUE"
        )
    group = found[1].rpartition("/")[0]
    settings = _settings_without(group, config_name, arguments)
    for key, value in _settings(content):
        if isinstance(value, Mapping | list) and key in settings:
            base = settings[key]
            if is_list(base) != is_list(value) and isinstance(base, Mapping | list):
                return ConfigError(f"{str(file)!r}: {_rule(key, quoted(value), base)}")
    return None


def _rule(key: str, value: str, base: Any) -> ConfigError:
    """The error for a value of another form than the configuration's own one."""
    if isinstance(base, Mapping):
        return ConfigError(
            f"{key} must be a mapping of settings, but got {shortened(value)}: set {key}.NAME=VALUE"
        )
    shown = f"[{', '.join(map(str, base))}]"
    return ConfigError(f"{key} must be a list, but got {shortened(value)}: the default is {shown}")


def _settings_without(key: str, config_name: str, arguments: Sequence[str]) -> dict[str, Any]:
    """The settings by dotted name, without the overrides of one key; empty if another one has an error."""
    given, _ = get_args_parser().parse_known_args(list(arguments))
    others = [word for word in given.overrides if re.split("[=@]", word.lstrip("+~"))[0] != key]
    return dict(_settings(_composed(config_name, others, given.config_dir)))


def _composed(
    config_name: str, overrides: Sequence[str], config_dir: str | None
) -> Mapping[str, Any]:
    """The plain configuration of some overrides; empty if they have an error of their own."""
    words = list(overrides)
    if config_dir is not None:
        words.append(f"hydra.searchpath=['file://{Path(config_dir).resolve()}']")
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            config: DictConfig = compose(config_name, overrides=words)
            plain: dict[str, Any] = OmegaConf.to_container(config)  # type: ignore[assignment]
            return plain
    except (HydraException, OmegaConfBaseException):
        return {}


def _settings(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The dotted names of all settings, with their values."""
    pending: list[tuple[str, Mapping[str, Any]]] = [("", config)]
    while pending:
        prefix, settings = pending.pop()
        for key, value in settings.items():
            yield f"{prefix}{key}", value
            if isinstance(value, Mapping):
                pending.append((f"{prefix}{key}.", value))
