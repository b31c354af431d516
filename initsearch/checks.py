"""Checks of settings that come from a user or a file: numbers, flags, choices, mappings and their keys.

Each returns the value, or raises a `ConfigError` that names the argument, the rule, the value received
and the remedy.
"""

import math
import numbers
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeGuard
from unicodedata import category

from initsearch.errors import LONGEST, ConfigError, quoted, unknown_name

# Control characters, and halves of surrogate pairs, which UTF-8 cannot write.
_UNPRINTED = ("Cc", "Cs")


def check_int(argument: str, value: object, minimum: int | None = 1) -> int:
    """The value, if it is an integer of at least `minimum`.

    Args:
        argument: The setting's name, for the error.
        value: What was given.
        minimum: The smallest value allowed; None: any integer.

    Raises:
        ConfigError: It is not.
    """
    # A YAML `true` is an int in Python, but never meant as a number.
    wrong_type = isinstance(value, bool) or not isinstance(value, int)
    if wrong_type or not isinstance(value, int) or (minimum is not None and value < minimum):
        rule = "an integer" if minimum is None else f"an integer >= {minimum}"
        remedy = "a whole number" if minimum is None else f"{minimum} or more"
        raise ConfigError(f"{argument} must be {rule}, but got {quoted(value)}: give {remedy}")
    return value


def check_number(
    argument: str,
    value: object,
    *,
    above: float = -math.inf,
    at_least: float = -math.inf,
    below: float = math.inf,
) -> float:
    """The value as a float, if it is a finite number within (above, below) and [at_least, below).

    Raises:
        ConfigError: It is not.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        remedy = "in YAML write 1.0e-2, not 1e-2" if isinstance(value, str) else "give a number"
        raise ConfigError(f"{argument} must be a number, but got {quoted(value)}: {remedy}")
    try:
        number = float(value)
    except OverflowError:  # an integer beyond 1e308
        number = math.inf
    if not (math.isfinite(number) and above < number < below and number >= at_least):
        limits = ((">", above), (">=", at_least), ("<", below))
        rules = [f"{sign} {limit:g}" for sign, limit in limits if math.isfinite(limit)]
        rule = " and ".join(rules) or "finite"
        raise ConfigError(
            f"{argument} must be {rule}, but got {quoted(value)}: give a number within that range"
        )
    return number


def check_flag(argument: str, value: object) -> bool:
    """The value, if it is true or false.

    Raises:
        ConfigError: It is not.
    """
    if not isinstance(value, bool):
        raise ConfigError(
            f"{argument} must be true or false, but got {quoted(value)}: write it without quotes"
        )
    return value


def check_choice(argument: str, value: object, known: Iterable[str]) -> str:
    """The value, if it is one of the `known` names.

    Raises:
        ConfigError: It is not; the message has the nearest names.
    """
    names = list(known)
    if not isinstance(value, str) or value not in names:
        raise unknown_name(argument, value, names)
    return value


def check_mapping(argument: str, value: object, example: str) -> Mapping[Any, Any]:
    """The value, if it is a mapping.

    Args:
        argument: The setting's name, for the error.
        value: What was given.
        example: How one is written, for the error (`{activation: relu}`).

    Raises:
        ConfigError: It is not.
    """
    if not isinstance(value, Mapping):
        raise ConfigError(
            f"{argument} must be a mapping, but got {quoted(value)}: write for instance {example}"
        )
    return value


def is_list(value: object) -> TypeGuard[Sequence[Any]]:
    """Whether a value is a list as YAML, Hydra and Python give it: a sequence, but no text and no bytes."""
    return isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray)


def check_name(argument: str, value: object) -> str:
    """The value, if it can name something in a file, a study and a terminal.

    Raises:
        ConfigError: It is not text, or it is blank, too long, or has characters that cannot be printed.
    """
    if not isinstance(value, str):
        raise ConfigError(
            f"{argument} must be text, but got {quoted(value)}: write it in quotes, or choose another name"
        )
    if not value.strip() or any(category(character) in _UNPRINTED for character in value):
        raise ConfigError(
            f"{argument} must be text without control characters, but got {quoted(value)}: choose another name"
        )
    if len(value) > LONGEST:
        raise ConfigError(
            f"{argument} must have at most {LONGEST} characters, but got {len(value)} ({quoted(value)}): "
            "shorten it"
        )
    return value


def check_keys(argument: str, given: Mapping[Any, Any], known: Iterable[str]) -> None:
    """Refuse an entry that nothing reads, which most often is a misspelt one.

    Raises:
        ConfigError: An entry of `given` is not in `known`; the message has the nearest names.
    """
    names = list(known)
    for key in given:
        if key not in names:
            raise unknown_name(argument, key, names)
