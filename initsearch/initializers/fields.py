"""Checks of a frozen dataclass's fields, for `__post_init__`; the rules are those of `initsearch.checks`."""

from collections.abc import Iterable
from typing import ClassVar

from initsearch.checks import check_choice, check_flag, check_int, check_number


class CheckedFields:
    """Methods that check one field each and store it in its normal form.

    Every error names the class (`name`), the field, the rule, the value received and the remedy
    (`ConfigError`).
    """

    name: ClassVar[str] = ""

    def _number(self, field: str, **limits: float) -> float:
        """Check a number and store it as a float; for the limits see `check_number`."""
        number = check_number(f"{self.name}: {field}", getattr(self, field), **limits)
        object.__setattr__(self, field, number)
        return number

    def _integer(self, field: str, minimum: int) -> int:
        """Check an integer of at least `minimum`."""
        return check_int(f"{self.name}: {field}", getattr(self, field), minimum)

    def _choice(self, field: str, known: Iterable[str]) -> str:
        """Check a name that is one of `known` and store it in lower case; upper case is accepted."""
        value, names = getattr(self, field), tuple(known)
        lower = value.lower() if isinstance(value, str) else value
        name = check_choice(f"{field} of {self.name}", lower if lower in names else value, names)
        object.__setattr__(self, field, name)
        return name

    def _flag(self, field: str) -> bool:
        """Check a field that is true or false."""
        return check_flag(f"{self.name}: {field}", getattr(self, field))
