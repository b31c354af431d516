"""Checks of settings that come from a config: integers, choices and the names of entries."""

from collections.abc import Iterable, Mapping
from typing import Any

from initsearch.errors import ConfigError, unknown_name


def check_int(argument: str, value: object, minimum: int = 1) -> int:
    """The value, if it is an integer of at least `minimum`.

    Raises:
        ConfigError: It is not; the message names the argument, the rule and the value received.
    """
    # A YAML `true` is an int to Python, but never what somebody means by a size.
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise ConfigError(
            f"{argument} must be an integer >= {minimum}, but got {value!r}: "
            f"give {argument}={minimum} or more"
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


def check_keys(argument: str, given: Mapping[str, Any], known: Iterable[str]) -> None:
    """Refuse an entry that nothing reads, which most often is a misspelt one.

    Raises:
        ConfigError: An entry of `given` is not in `known`; the message has the nearest names.
    """
    names = list(known)
    for key in given:
        if key not in names:
            raise unknown_name(argument, key, names)
