"""Characters that no terminal and no picture should act on, as they are written in Python."""

import unicodedata

#: Unicode's categories of characters that move the cursor, reverse the direction of writing, or cannot be seen:
#: control, format, surrogate, line separator, paragraph separator.
_UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}


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
