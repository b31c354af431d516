"""The words of a command line, checked before Hydra composes a configuration: what to write instead."""

import argparse
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from initsearch.errors import ConfigError, quoted, unknown_name
from initsearch.shipped_configs import DIAGNOSE, config_groups, options_of, shipped_sweeps


def check_words(arguments: Sequence[str], config_name: str) -> None:
    """Check the words of a command line.

    Args:
        arguments: As in `sys.argv`, without the program's name.
        config_name: The configuration's name; only that of a search takes a sweep.

    Raises:
        ConfigError: An unknown option, a word that is not `name=value`, a list without brackets, a group
            without a name, or a `--config-dir` that does not exist.
    """
    parser = get_args_parser()
    parser.exit_on_error = False  # or argparse prints Hydra's usage
    try:
        given, unknown = parser.parse_known_args(list(arguments))
    except argparse.ArgumentError as error:
        raise ConfigError(f"{error}: --help lists the options") from error
    for option in unknown:
        raise _unknown_option(option, list(parser._option_string_actions))
    if given.config_dir is not None and not Path(given.config_dir).is_dir():
        raise ConfigError(
            f"--config-dir must be a folder, but {given.config_dir!r} is not one: correct the path"
        )
    for word in given.overrides:
        _check_override(word, config_name, is_multirun=given.multirun)


def _unknown_option(option: str, known: Sequence[str]) -> ConfigError:
    name, _, value = option.partition("=")
    near = get_close_matches(name, known, n=1, cutoff=0.75)
    if near:
        return ConfigError(f"unknown option {quoted(name)}: did you mean {near[0]}?")
    setting = name.lstrip("-").replace("-", "_")
    plus = "+" if setting == "sweep" else ""
    return ConfigError(
        f"unknown option {quoted(name)}: settings have no dashes; write {plus}{setting}={value or 'VALUE'}"
    )


def _check_override(word: str, config_name: str, *, is_multirun: bool) -> None:
    takes_sweep = config_name != DIAGNOSE
    name = word.lstrip("+~").partition("=")[0]
    if "=" not in word and not word.startswith("~"):
        raise _no_value(word, name, takes_sweep)
    try:
        override = OverridesParser.create().parse_override(word)
    except HydraException as error:
        raise ConfigError(
            f"{quoted(word)}: the value of {name or 'a setting'} cannot be read ({error}): a text with special "
            f"characters needs quotes of its own, '{name}=\"…\"'"
        ) from error
    key = override.key_or_group
    if not key:
        raise ConfigError(f"{quoted(word)} must be name=value, but has no name: add one")
    if override.is_sweep_override() and not is_multirun:
        several = word.partition("=")[2]
        remedy = f"run the command once for each of {several}"
        if key not in config_groups():
            remedy = f"write '{key}=[{several}]' for a list, or {remedy}"
        raise ConfigError(f"{quoted(word)} must be a single value: {remedy}")
    if key == "sweep" and takes_sweep and not word.startswith(("+", "~")):
        raise ConfigError(
            f"{quoted(word)} must begin with a +, as no sweep is chosen yet: write +{word}"
        )
    is_choice = key in config_groups() and not override.is_delete() and not is_multirun
    if is_choice and not _names_options(override.value()):
        raise unknown_name(key, word.partition("=")[2], options_of(key))


def _names_options(value: object) -> bool:
    """Whether a value can choose the options of a group: a name, or a list of names."""
    names = value if isinstance(value, list) else [value]
    return all(isinstance(name, str) for name in names)


def _no_value(word: str, name: str, takes_sweep: bool) -> ConfigError:
    if takes_sweep and name in shipped_sweeps():
        remedy = f"write +sweep={name}"
    elif takes_sweep and name == "sweep":
        remedy = f"write +sweep=NAME with NAME one of {', '.join(shipped_sweeps())}"
    else:
        remedy = f"write {word}=VALUE; --help lists settings"
    return ConfigError(f"{quoted(word)} must be name=value: {remedy}")
