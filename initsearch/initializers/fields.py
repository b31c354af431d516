"""Checks of a frozen dataclass's fields, for `__post_init__`."""

import math
import numbers
from collections.abc import Iterable
from typing import ClassVar

from initsearch.errors import ConfigError, unknown_name


class CheckedFields:
    """Methods that check one field each and store it in its normal form.

    Every error names the class (`name`), the field, the rule, the value received and, where it is
    not plain from the rule, the remedy.
    """

    name: ClassVar[str] = ""

    def _number(
        self,
        field: str,
        *,
        above: float = -math.inf,
        at_least: float = -math.inf,
        below: float = math.inf,
    ) -> float:
        """Check a numeric field in `__post_init__` and store it as a float.

        Raises:
            ConfigError: Not a finite number, or outside (above, below) or [at_least, below).
        """
        value = getattr(self, field)
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise ConfigError(
                f"{self.name}: {field} must be a number, got {value!r}"
                + ("; in YAML write 1.0e-2, not 1e-2" if isinstance(value, str) else "")
            )
        try:
            number = float(value)
        except OverflowError:  # a whole number beyond 1e308
            number = math.inf
        rules = []
        if above > -math.inf:
            rules.append(f"> {above:g}")
        if at_least > -math.inf:
            rules.append(f">= {at_least:g}")
        if below < math.inf:
            rules.append(f"< {below:g}")
        if not (math.isfinite(number) and above < number < below and number >= at_least):
            rule = " and ".join(rules) if rules else "finite"
            raise ConfigError(f"{self.name}: {field} must be {rule}, got {value!r}")
        object.__setattr__(self, field, number)
        return number

    def _choice(self, field: str, known: Iterable[str]) -> str:
        """Check a field that names one of `known` in `__post_init__`; upper case is accepted.

        Raises:
            ConfigError: Another name; the message has the nearest ones.
        """
        value = getattr(self, field)
        known = tuple(known)
        name = value.lower() if isinstance(value, str) else value
        if name not in known:
            raise unknown_name(f"{field} of {self.name}", value, known)
        object.__setattr__(self, field, name)
        return str(name)

    def _flag(self, field: str) -> bool:
        """Check a field that is true or false in `__post_init__`.

        Raises:
            ConfigError: Anything else.
        """
        value = getattr(self, field)
        if not isinstance(value, bool):
            raise ConfigError(f"{self.name}: {field} must be true or false, got {value!r}")
        return value
