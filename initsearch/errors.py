"""The exceptions and warnings of initsearch: one root, one line each.

A message names the argument, the rule, the value received and the remedy. The command line prints it
without a traceback.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class InitSearchError(Exception):
    """Root of everything that initsearch raises on purpose."""


class ConfigError(InitSearchError, ValueError):
    """A setting breaks a rule: an argument, a config entry, a plan file, a space."""


class DataError(InitSearchError):
    """A data set is missing, truncated, foreign or cannot be downloaded."""


class ModelError(InitSearchError):
    """A model cannot be built, traced or initialized."""


class NoEffectWarning(UserWarning):
    """A rule matched nothing, so that it changes nothing."""


def unknown_name(argument: str, value: object, known: Iterable[str]) -> ConfigError:
    """An error for a name that is not in a list, with the nearest names as the remedy.

    Args:
        argument: What was being chosen, as the user knows it (`initializer`, `mode`, ...).
        value: The name received.
        known: The names that exist.
    """
    names = sorted(known)
    near = get_close_matches(str(value), names, n=3, cutoff=0.5)
    remedy = f"did you mean {' or '.join(near)}?" if near else f"choose one of: {', '.join(names)}"
    return ConfigError(f"unknown {argument} {value!r}: {remedy}")
