"""The values that one tunable may take: one fixed value, a list of choices, or a range."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import optuna

from initsearch.checks import check_flag, check_keys, check_number, is_list
from initsearch.errors import ConfigError, quoted

Value = str | float | int | bool | None

# Integers beyond this are not exact as floats, which samplers compute with.
_LARGEST_INTEGER = 2**53


@dataclass(frozen=True)
class Domain:
    """The values of one tunable.

    Attributes:
        choices: The values of a list of choices; a single value is fixed.
        low: Lower end of a range, inclusive.
        high: Upper end of a range, inclusive.
        log: Whether the range is searched on a logarithmic scale.
        integer: Whether the range holds integers only.
    """

    choices: tuple[Value, ...] = ()
    low: float = math.nan
    high: float = math.nan
    log: bool = False
    integer: bool = False

    @classmethod
    def from_spec(cls, owner: str, spec: Any) -> "Domain":
        """Read `1.0`, `[1.0, 2.0]` or `{low: 0.5, high: 4.0, log: true}`.

        Args:
            owner: The tunable's name, for errors (`relu.variance_scaling.factor`).
            spec: The value in the configuration.

        Raises:
            ConfigError: An empty list, a choice that is neither a name nor a number, a range whose ends are
                in the wrong order, or an unknown key.
        """
        if isinstance(spec, Mapping):
            return cls._range(owner, spec)
        choices = tuple(spec) if is_list(spec) else (spec,)
        if not choices:
            raise ConfigError(f"{owner} must have at least one choice, but got []: add one")
        for choice in choices:
            if not isinstance(choice, Value):
                raise ConfigError(
                    f"{owner}: choices must be names or numbers, but got {quoted(choice)}: give a name, a "
                    "number, a list of these, or a range {low: 0.5, high: 2.0}"
                )
        return cls(choices=tuple(dict.fromkeys(choices)))

    @classmethod
    def _range(cls, owner: str, spec: Mapping[str, Any]) -> "Domain":
        check_keys(f"key in the range of {owner}", spec, ("low", "high", "log"))
        low, high = (_end(f"{owner}: {key}", spec.get(key)) for key in ("low", "high"))
        log = check_flag(f"{owner}: log", spec.get("log", False))
        if low > high:
            raise ConfigError(
                f"{owner}: low <= high must hold, but got low={low} and high={high}: swap them"
            )
        if log and low <= 0:
            raise ConfigError(
                f"{owner}: low > 0 must hold with log: true, but got low={low}: raise low or leave out log"
            )
        if low == high:
            return cls(choices=(low,))
        if not math.isfinite(float(high) - float(low)):
            raise ConfigError(
                f"{owner}: the width of the range must be finite, but got low={low} and high={high}: narrow it"
            )
        integer = isinstance(low, int) and isinstance(high, int)
        if integer and max(-low, high) > _LARGEST_INTEGER:
            raise ConfigError(
                f"{owner}: a range of integers must lie within ±2**53, but got low={low} and high={high}: "
                "narrow it, or write floats (1.0e300)"
            )
        return cls(low=low, high=high, log=log, integer=integer)

    @property
    def fixed(self) -> bool:
        """Whether there is a single value."""
        return len(self.choices) == 1

    @property
    def size(self) -> float:
        """The number of values; infinite for a range of real numbers."""
        if self.choices:
            return len(self.choices)
        return self.high - self.low + 1 if self.integer else math.inf

    def values(self) -> Iterator[Value]:
        """All values of a finite domain."""
        if self.choices:
            yield from self.choices
        elif self.integer:
            yield from range(int(self.low), int(self.high) + 1)
        else:
            raise ConfigError("a range of real numbers cannot be listed: give a list of choices")

    def examples(self) -> tuple[Value, ...]:
        """Values to check in place of all: every choice, or both ends of a range."""
        return self.choices or (self.low, self.high)

    def suggest(self, trial: optuna.trial.BaseTrial, name: str) -> Any:
        """The trial's value; a fixed value is no parameter of the trial.

        Raises:
            ConfigError: The trial's study was begun with other choices under this name, or a fixed trial lacks
                the value.
        """
        if self.fixed:
            return self.choices[0]
        try:
            if self.choices:
                return trial.suggest_categorical(name, list(self.choices))
            if self.integer:
                return trial.suggest_int(name, int(self.low), int(self.high), log=self.log)
            return trial.suggest_float(name, self.low, self.high, log=self.log)
        except ValueError as error:
            stored = isinstance(trial, optuna.Trial)
            remedy = (
                "give the changed space a study of its own (another study_name), or its former values"
                if stored
                else "give the trial a value that the space has"
            )
            raise ConfigError(
                f"{name}: the values of the space ({self}) must fit the {'study' if stored else 'trial'}, but "
                f"Optuna refuses them ({' '.join(str(error).split())}): {remedy}"
            ) from error

    def __str__(self) -> str:
        if self.choices:
            return quoted(list(self.choices))
        scale = " on a logarithmic scale" if self.log else ""
        return f"{self.low} to {self.high}{scale}"


def _end(argument: str, value: Any) -> float:
    """One end of a range, as it was given: an integer stays one."""
    number = check_number(argument, value)
    return value if isinstance(value, int) else number
