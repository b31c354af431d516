"""The values that one tunable may take: fixed, a list of choices, or a range."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna

from initsearch.errors import ConfigError, unknown_name

Value = str | float | int | bool | None


@dataclass(frozen=True)
class Domain:
    """What one tunable may be.

    Attributes:
        choices: The values, for a list of choices; one value means that it is fixed.
        low: Lower end of a range, inclusive.
        high: Upper end of a range, inclusive.
        log: Whether the range is searched on a logarithmic scale.
        integer: Whether the range holds whole numbers only.
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
            owner: The tunable's name, for messages (`relu.variance_scaling.factor`).
            spec: What the configuration says.

        Raises:
            ConfigError: An empty list, a range whose ends are in the wrong order, or a key that is unknown.
        """
        if isinstance(spec, Mapping):
            return cls._range(owner, spec)
        if isinstance(spec, Sequence) and not isinstance(spec, str):
            if not spec:
                raise ConfigError(f"{owner} must have at least one choice, but got []")
            if any(isinstance(choice, Mapping | list | tuple) for choice in spec):
                raise ConfigError(
                    f"{owner}: choices must be names or numbers, but got {list(spec)!r}"
                )
            return cls(choices=tuple(dict.fromkeys(spec)))
        return cls(choices=(spec,))

    @classmethod
    def _range(cls, owner: str, spec: Mapping[str, Any]) -> "Domain":
        for key in spec:
            if key not in ("low", "high", "log"):
                raise unknown_name(f"key in the range of {owner}", key, ("low", "high", "log"))
        low, high = (_end(owner, key, spec.get(key)) for key in ("low", "high"))
        log = bool(spec.get("log", False))
        if low > high:
            raise ConfigError(f"{owner}: low <= high must hold, but got low={low} and high={high}")
        if log and low <= 0:
            raise ConfigError(f"{owner}: low > 0 must hold with log: true, but got low={low}")
        if low == high:
            return cls(choices=(low,))
        integer = isinstance(low, int) and isinstance(high, int)
        return cls(low=low, high=high, log=log, integer=integer)

    @property
    def fixed(self) -> bool:
        """Whether there is nothing to choose."""
        return len(self.choices) == 1

    @property
    def size(self) -> float:
        """How many values there are: infinite for a range of real numbers."""
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
        """Values that stand for all: every choice, or both ends of a range."""
        return self.choices or (self.low, self.high)

    def suggest(self, trial: optuna.trial.BaseTrial, name: str) -> Any:
        """The trial's value; a fixed one asks nothing of the trial."""
        if self.fixed:
            return self.choices[0]
        if self.choices:
            return trial.suggest_categorical(name, list(self.choices))
        if self.integer:
            return trial.suggest_int(name, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(name, self.low, self.high, log=self.log)


def _end(owner: str, key: str, value: Any) -> float:
    """One end of a range."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ConfigError(f"{owner}: {key} must be a finite number, but got {value!r}")
    return value
