"""What a race is decided by, fixed before it starts."""

from dataclasses import dataclass

import numpy as np

from initsearch.errors import ConfigError
from initsearch.race.spending import t_levels


@dataclass(frozen=True)
class RaceRules:
    """What a race is decided by, fixed before it starts.

    Attributes:
        alpha: Chance of a false winner over all looks together, in (0, 1).
        margin: Gap that matters in practice, in units of the metric (0.001 is 0.1 points of
            accuracy).
        looks: Numbers of blocks at which to decide, increasing, at least 2.
        max_seeds: Blocks at most. Looks beyond it are left out and it is itself the last look, so a
            number below the first look leaves a single look.
        futility: The race ends undecided where the blocks that are left would name a winner or a tie with a
            chance below this; 0: it goes on to `max_seeds`.
        higher_is_better: The metric's direction.
        diverged_score: Score of a diverged run, in units of the metric; a guess's score is a good
            choice. None takes the worst score of the race, moved further by its own size: 0 for an
            accuracy, twice the worst loss.
        bound: Scores worse than this are bounds of the true ones (steps to a target that was not reached). A
            race with nothing else has shown nothing. None: there are no such scores.

    Raises:
        ConfigError: A number outside its range.
    """

    alpha: float = 0.05
    margin: float = 0.001
    looks: tuple[int, ...] = (4, 6, 8, 12, 16, 24, 32)
    max_seeds: int = 12
    futility: float = 0.05
    higher_is_better: bool = True
    diverged_score: float | None = None
    bound: float | None = None

    def __post_init__(self) -> None:
        if not 0.0 < self.alpha < 0.5:
            raise ConfigError(f"race.alpha must lie between 0 and 0.5: got {self.alpha}; try 0.05")
        if not 0.0 <= self.futility < 1.0:
            raise ConfigError(
                f"race.futility must be 0 or more and below 1: got {self.futility}; try 0.05"
            )
        if not 0.0 <= self.margin < float("inf"):
            raise ConfigError(f"race.margin must be 0 or more: got {self.margin}")
        if self.max_seeds < 2:
            raise ConfigError(
                f"race.max_seeds must be at least 2, since one seed has no spread: "
                f"got {self.max_seeds}"
            )
        if any(look < 2 for look in self.looks) or list(self.looks) != sorted(set(self.looks)):
            raise ConfigError(f"race.looks must be increasing, from 2 up: got {self.looks}")
        if self.diverged_score is not None and not np.isfinite(self.diverged_score):
            raise ConfigError(f"race.diverged_score must be finite: got {self.diverged_score}")

    @property
    def schedule(self) -> tuple[int, ...]:
        """The looks that take place, the last at `max_seeds`."""
        return (*(look for look in self.looks if look < self.max_seeds), self.max_seeds)

    @property
    def levels(self) -> tuple[float, ...]:
        """The two-sided level of the tests at each look."""
        return tuple(2.0 * level for level in t_levels(self.schedule, self.alpha / 2.0))

    @property
    def tie_levels(self) -> tuple[float, ...]:
        """The level of each one-sided test of equivalence at each look."""
        return t_levels(self.schedule, self.alpha)
