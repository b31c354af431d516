"""Many cheap races through the real decision code, and limits for their numbers of errors."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from unittest.mock import patch

import numpy as np
from scipy.stats import beta, binom

from initsearch.race.look import Look
from initsearch.race.race import Race
from initsearch.race.rules import Decision, RaceRules

FALSE_ALARM = 0.001
NO_POWER = (float("nan"), float("nan"), 0)

Noise = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]


def normal(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return rng.normal(size=shape)


def heavy_tailed(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Student's t with three degrees of freedom, scaled to a standard deviation of 1."""
    return rng.standard_t(3, size=shape) / np.sqrt(3)


@dataclass(frozen=True)
class Outcome:
    """A finished race and the decision it ended with."""

    race: Race
    decision: Decision

    @property
    def winner(self) -> str | None:
        return self.decision.leader if self.decision.status == "winner" else None

    @property
    def blocks_trained(self) -> int:
        """Number of training runs; a stopped candidate saves the remaining ones."""
        return sum(self.race.dropped_at.get(name, self.decision.look) for name in self.race.names)


def without_power() -> AbstractContextManager[object]:
    """Decisions without the power that they report, which takes most of their time and decides nothing."""
    return patch.object(Look, "power", NO_POWER)


def race(
    scores: np.ndarray, rules: RaceRules, protected: tuple[str, ...] = (), *, power: bool = False
) -> Outcome:
    """Race the rows of `scores` (candidates x blocks), named c0, c1, …, until it is decided.

    Without `power`, see `without_power`.
    """
    names = [f"c{i}" for i in range(len(scores))]
    running = Race(names, rules, protected)
    decision = None
    while running.next_look is not None:
        for block in range(len(running.seeds), running.next_look):
            running.add_block(block, dict(zip(names, scores[:, block].tolist(), strict=True)))
        with nullcontext() if power else without_power():
            decision = running.decide()
    assert decision is not None
    return Outcome(running, decision)


def races(
    replicates: int,
    means: list[float],
    rules: RaceRules,
    noise: Noise = normal,
    sd: float = 0.004,
    shared_sd: float = 0.008,
    seed: int = 0,
    protected: tuple[str, ...] = (),
    *,
    power: bool = False,
) -> list[Outcome]:
    """Races of candidates with these true means, with separate noise and noise shared within a block."""
    rng = np.random.default_rng(seed)
    shape = (len(means), rules.max_seeds)
    return [
        race(
            np.array(means)[:, None]
            + shared_sd * rng.normal(size=(1, rules.max_seeds))
            + sd * noise(rng, shape),
            rules,
            protected,
            power=power,
        )
        for _ in range(replicates)
    ]


def most_errors(replicates: int, rate: float = 0.05) -> int:
    """The number of errors that a true error rate of `rate` exceeds with probability 0.001."""
    return int(binom.isf(FALSE_ALARM, replicates, rate))


def upper_bound(errors: int, replicates: int) -> float:
    """Clopper-Pearson: the true error rate is below it with 95 % confidence."""
    return float(beta.ppf(0.95, errors + 1, replicates - errors))


def least_found(replicates: int, rate: float) -> int:
    """The number of detections that a true rate of `rate` falls below with probability 0.001."""
    return int(binom.ppf(FALSE_ALARM, replicates, rate))
