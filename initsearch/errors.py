"""The exceptions and warnings of initsearch: one root, one line each.

A message names the argument, the rule, the value received and the remedy. The command line prints it
without a traceback.
"""

import builtins
import reprlib
import unicodedata
from collections.abc import Iterable
from difflib import get_close_matches

#: The most characters of a value, and of a list of names, that a message shows.
LONGEST = 200
#: Unicode's categories of characters that move the cursor, reverse the direction of writing, or cannot be seen:
#: control, format, surrogate, line separator, paragraph separator.
_UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}


class InitSearchError(Exception):
    """Root of everything that initsearch raises on purpose."""


class ConfigError(InitSearchError, ValueError):
    """A setting breaks a rule: an argument, a config entry, a plan file, a space."""


class DataError(InitSearchError):
    """A data set is missing, truncated, foreign or cannot be downloaded."""


class ModelError(InitSearchError):
    """A model cannot be built, traced or initialized."""


class JobEndedError(InitSearchError):
    """A job ended without a result: its code ended the process, or took too long.

    Args:
        message: The message.
        limit: The time limit in seconds that ended it; None: it ended otherwise.
    """

    def __init__(self, message: str, limit: float | None = None) -> None:
        super().__init__(message)
        self.limit = limit


class NoEffectWarning(UserWarning):
    """A rule that matches nothing, and so changes nothing."""


class _Quoting(reprlib.Repr):
    """`repr` that is short for any value, however long, deep or self-referring."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = self.maxlong = LONGEST
        self.maxdict = self.maxlist = self.maxtuple = self.maxset = 20

    def repr_int(self, x: int, level: int) -> str:
        """A whole number; Python refuses to write one of more than a few thousand digits."""
        if x.bit_length() > 10_000:
            return f"<an integer of {x.bit_length()} bits>"
        return super().repr_int(x, level)

    def repr_dict(self, x: dict[object, object], level: int) -> str:
        """A mapping in its own order, which `reprlib` would sort."""
        if level <= 0:
            return "{...}"
        parts = [
            f"{self.repr1(key, level - 1)}: {self.repr1(value, level - 1)}"
            for key, value in list(x.items())[: self.maxdict]
        ]
        if len(x) > self.maxdict:
            parts.append("...")
        return "{" + ", ".join(parts) + "}"

    def repr_instance(self, x: object, level: int) -> str:
        """Any other object, in one line."""
        try:
            text = builtins.repr(x)
        except Exception:  # noqa: BLE001 - a user's class may raise anything; its name says enough
            return f"<{type(x).__name__} object>"
        return " ".join(text.split()) if "\n" in text else text


_quoting = _Quoting()


def quoted(value: object) -> str:
    """A value as a message shows it: its `repr` in one line, cut to a readable length."""
    return shortened(_quoting.repr(value))


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its type if it has none."""
    return (str(error) or type(error).__name__).splitlines()[0]


def shortened(text: str) -> str:
    """A text of at most `LONGEST` characters; a longer one ends in an ellipsis."""
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def visible(text: str, keep: str = "") -> str:
    r"""The text with every control character written out, as `\x1b`, `\n` or `\u202e`.

    Names come from configs, folders and plan files. Written as they are, an escape sequence in one could
    clear a terminal, and a newline could fake a line.

    Args:
        text: Any text.
        keep: Characters that stay as they are: "\n" for a text of several lines.

    >>> visible("red \x1b[31m name")
    'red \\x1b[31m name'
    """
    if text.isprintable():  # nothing of these categories, and no space but the plain one
        return text
    return "".join(
        char.encode("unicode_escape").decode("ascii")
        if unicodedata.category(char) in _UNSEEN and char not in keep
        else char
        for char in text
    )


def listed(names: Iterable[str]) -> str:
    """Names with commas between, as many as a message can show and how many there are."""
    every = sorted(names)
    shown: list[str] = []
    for name in every:
        if shown and len(", ".join([*shown, name])) > LONGEST:
            return f"{', '.join(shown)}, … ({len(every)} in all)"
        shown.append(shortened(name))
    return ", ".join(shown)


def unknown_name(argument: str, value: object, known: Iterable[str]) -> ConfigError:
    """An error for a name that is not in a list, with the nearest names as the remedy.

    Args:
        argument: What was being chosen, as the user knows it (`initializer`, `mode`, ...).
        value: The name received.
        known: The names that exist.
    """
    names = sorted(known)
    given = shortened(value) if isinstance(value, str) else quoted(value)
    near = get_close_matches(given, names, n=3, cutoff=0.5)
    remedy = f"did you mean {' or '.join(near)}?" if near else f"choose one of: {listed(names)}"
    return ConfigError(f"unknown {argument} {quoted(value)}: {remedy}")
