"""What a race needs to know beforehand (`RaceRules`) and what it returns (`Decision`, `Result`)."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from numbers import Integral, Real
from typing import Any, Literal, get_args

import numpy as np

from initsearch.errors import ConfigError
from initsearch.race.failures import failure_bound
from initsearch.race.spending import power_levels, t_levels

Status = Literal["winner", "tie", "undecided"]
Boundary = Literal["obrien_fleming", "linear", "moderated"]
BaselineStatus = Literal["beaten", "kept", "open"]

#: The looks of the boundary `moderated` besides those of the rules. At these, variances are moderated.
EARLY = (3, 4, 5, 6)


@dataclass(frozen=True)
class RaceRules:
    """The rules of a race, fixed before it starts.

    Attributes:
        alpha: Probability of a false winner over all looks together, in (0, 0.5).
        margin: Smallest gap that matters in practice, in units of the metric (0.001 is 0.1 points of
            accuracy).
        looks: Numbers of blocks at which to decide, increasing, each at least 2.
        max_seeds: Maximum number of blocks. It is itself the last look; `looks` beyond it are ignored.
        futility: The race ends undecided if the remaining blocks would name a winner or a tie with a
            probability below this, in [0, 1). 0: it always continues to `max_seeds`.
        higher_is_better: The metric's direction.
        diverged_score: Score of a diverged run, in units of the metric; the score of a random guess is a
            good choice. None: the worst score of the race, made worse by its own size (0 for an accuracy,
            twice the worst loss).
        boundary: How alpha is spent. `obrien_fleming`: at `looks`, very little of it at the early ones.
            `linear`: a look at every block from the first of `looks` on, at levels proportional to the number
            of blocks. Clear cases need fewer blocks, and small gaps are found less often. `moderated`: also at
            3 to 6 blocks, where small samples borrow from the most variable pair (see `moderation`), at levels
            proportional to the cube of the number of blocks.
        correct_skew: Whether a lead has to be clearer where the leading candidate may have rare low scores that
            are still to come, see `critical`.
        sign_flips: Whether a lead may be shown by signs where a candidate collapses on some blocks, so that no
            t-test could show it, see `sign_flips`.
        bound: Scores worse than this are only bounds of the true ones (steps to a target that was not
            reached). A race with no other scores is undecided. None: all scores are exact.

    Raises:
        ConfigError: A value has the wrong type or is out of range.
    """

    alpha: float = 0.05
    margin: float = 0.001
    looks: tuple[int, ...] = (4, 6, 8, 12, 16, 24, 32)
    max_seeds: int = 12
    futility: float = 0.05
    higher_is_better: bool = True
    diverged_score: float | None = None
    boundary: Boundary = "obrien_fleming"
    correct_skew: bool = True
    sign_flips: bool = True
    bound: float | None = None

    def __post_init__(self) -> None:
        self._check_types()
        if not 0.0 < self.alpha < 0.5:
            raise ConfigError(f"race.alpha must lie between 0 and 0.5: got {self.alpha}; try 0.05")
        if not 0.0 <= self.futility < 1.0:
            raise ConfigError(
                f"race.futility must be 0 or more and below 1: got {self.futility}; try 0.05"
            )
        if not 0.0 <= self.margin < float("inf"):
            raise ConfigError(
                f"race.margin must be 0 or more and finite: got {self.margin}; "
                f"0 lets a gap of any size win"
            )
        if self.max_seeds < 2:
            raise ConfigError(
                f"race.max_seeds must be at least 2, since one seed has no spread: "
                f"got {self.max_seeds}; try 12"
            )
        if any(look < 2 for look in self.looks) or list(self.looks) != sorted(set(self.looks)):
            raise ConfigError(
                f"race.looks must be increasing, from 2 up: got {self.looks}; try (4, 6, 8, 12)"
            )
        if self.diverged_score is not None and not np.isfinite(self.diverged_score):
            raise ConfigError(
                f"race.diverged_score must be finite: got {self.diverged_score}; "
                f"use None for a score that is worse than the worst"
            )

        if self.boundary not in get_args(Boundary):
            raise ConfigError(
                f"race.boundary must be one of {', '.join(get_args(Boundary))}: got {self.boundary!r}"
            )

    def _check_types(self) -> None:
        for name in ("alpha", "margin", "futility", "diverged_score", "bound"):
            value: object = getattr(self, name)
            may_be_none = getattr(RaceRules, name) is None
            if not _is(value, Real) and not (value is None and may_be_none):
                raise ConfigError(
                    f"race.{name} must be a number{' or None' if may_be_none else ''}: got {value!r}"
                )
        if not _is(self.max_seeds, Integral):
            raise ConfigError(f"race.max_seeds must be an integer: got {self.max_seeds!r}; try 12")
        looks: object = self.looks
        if not isinstance(looks, tuple | list) or not all(_is(look, Integral) for look in looks):
            raise ConfigError(f"race.looks must be integers: got {looks!r}; try (4, 6, 8, 12)")

    @property
    def schedule(self) -> tuple[int, ...]:
        """The looks that take place, the last at `max_seeds`."""
        if self.boundary == "linear":
            return tuple(range(min(self.looks[0], self.max_seeds), self.max_seeds + 1))
        extra = EARLY if self.boundary == "moderated" else ()
        looks = sorted({*self.looks, *extra})
        return (*(look for look in looks if look < self.max_seeds), self.max_seeds)

    @property
    def levels(self) -> tuple[float, ...]:
        """The two-sided level of the tests at each look."""
        return tuple(2.0 * level for level in self._one_sided(self.alpha / 2.0))

    @property
    def tie_levels(self) -> tuple[float, ...]:
        """The level of each one-sided equivalence test at each look."""
        return self._one_sided(self.alpha)

    def family_levels(self, count: int) -> tuple[float, ...]:
        """The one-sided level at each look of a comparison of one candidate with all others.

        Bonferroni's inequality over the `count - 1` others. For two or three candidates it is the level of a
        single pair.

        Args:
            count: Number of candidates in the race.
        """
        return self._one_sided(self.alpha / max(2, count - 1))

    def _one_sided(self, alpha: float) -> tuple[float, ...]:
        if self.boundary == "obrien_fleming":
            return t_levels(self.schedule, alpha)
        return power_levels(self.schedule, alpha, 1.0 if self.boundary == "linear" else 3.0)


def _is(value: object, kind: type) -> bool:
    """Whether it is a number of this kind, and not a bool."""
    return isinstance(value, kind) and not isinstance(value, bool)


@dataclass(frozen=True)
class Comparison:
    """The leader against one other candidate at a look; gaps are in units of the metric.

    Attributes:
        name: The other candidate.
        blocks: Number of blocks that both were trained on.
        gap: Mean lead of the leader over the other; negative if the other is better on these blocks.
        low: Lower end of the gap's confidence interval at the level of the look. The interval holds over
            all looks together.
        high: Its upper end.
        spread: Standard deviation of the paired difference.
        p_value: Two-sided paired t-test of no difference, or a sign-flip test where a t-test is blind.
        p_holm: The same after Holm's correction over all pairs of the race.
        p_equivalence: Two one-sided tests (TOST) of a gap within the margin.
        tie_low: Lower end of the interval that decides equivalence: each end is one-sided at the tie level of
            the look. It lies within the margin on both sides of 0 exactly if the two are equivalent.
        tie_high: Its upper end.
        beaten: Whether the leader beats the other (`low` is above the margin).
        equivalent: Whether the two are shown to be equivalent.
    """

    name: str
    blocks: int
    gap: float
    low: float
    high: float
    spread: float
    p_value: float
    p_holm: float
    p_equivalence: float
    tie_low: float
    tie_high: float
    beaten: bool
    equivalent: bool


@dataclass(frozen=True)
class BaselineGap:
    """One candidate against the baseline; gaps are in units of the metric, positive if it is better.

    Attributes:
        name: The candidate.
        blocks: Number of blocks that both were trained on.
        gap: Its mean lead over the baseline.
        low: Lower end of the lead's interval. The lower ends of all candidates hold together, and over all
            looks.
        high: Its upper end, likewise.
        p_value: Two-sided paired t-test of no difference.
        beats: Whether the candidate beats the baseline (`low` is above the margin).
    """

    name: str
    blocks: int
    gap: float
    low: float
    high: float
    p_value: float
    beats: bool


@dataclass(frozen=True)
class Decision:
    """The outcome of a look, and its evidence.

    Attributes:
        status: `winner`, `tie`, `undecided`, or None if the race continues.
        leader: The candidate with the best mean among those still in training.
        tie_set: The leader and those that it is not shown to be better than, best first.
        dropped: Candidates stopped at this look because they can no longer win; empty if the race ends.
        look: Number of blocks so far.
        max_seeds: Maximum number of blocks.
        information: `look / max_seeds`.
        level: Two-sided level of the tests at this look.
        tie_level: Level of each one-sided equivalence test at this look.
        alpha: As in the rules.
        margin: As in the rules, in units of the metric.
        comparisons: The leader against each other candidate, smallest gap first.
        p_pairs: Holm-adjusted p-value of each pair, by both names.
        correlation: Mean correlation of two candidates over the blocks; None if undefined.
        variance_removed: Share of a difference's variance that pairing removed; None if undefined.
        power: Probability that this look detects the lead beyond the margin over all rivals together (which a
            winner needs), if the true gap to the runner-up is the observed one. Rivals that are not shown to
            be worse than the runner-up count as equal to it.
        detectable_gap: The true gap to the runner-up for which that probability is 0.8. NaN if all that is
            left is equal on every block.
        power_blocks: Number of blocks to which `power` and `detectable_gap` refer, at the level of their
            look: `look`, or `max_seeds` if the race ended for futility.
        seeds_to_decide: The least `max_seeds` that would decide an undecided race with a probability of 0.8, if
            the true gaps are the observed ones; None if no reasonable number would.
        tie_margin: The smallest margin with which the tie set of an undecided race would be a tie.
        prospect: Predicted probability that the remaining blocks name a winner or a tie (see `futility`);
            None if it was not computed: no blocks remain, or the race is decided.
        diverged: Number of diverged runs by candidate, without zeros.
        bounds: Number of scores by candidate that are only bounds, without zeros.
        all_diverged: Whether every run of the leader diverged.
        all_bounds: Whether every score is only a bound.
        baseline: The baseline, if one was named.
        baseline_gaps: Every other candidate against the baseline, the largest lead first.
        baseline_prospect: Predicted probability that the remaining blocks show the baseline to be beaten; None
            if it was not computed: no baseline, no blocks remain, it is beaten already, or the race is decided.
        recommended: The candidate to take: the winner; the baseline or the simplest candidate of a tie; if
            undecided, the baseline unless it is beaten.
        regrets: By candidate still in training, how much the truly best candidate of the race may be better,
            in units of the metric: bounds that hold together, over all looks, with confidence 1 - alpha. Empty
            if the scores bound nothing (all diverged, or all are only bounds).
        less_reliable: Candidates that diverge more often than the recommended one, each with the p-value of an
            exact test (McNemar). Together they are false with probability alpha at most, over all looks.
    """

    status: Status | None
    leader: str
    tie_set: tuple[str, ...]
    dropped: tuple[str, ...]
    look: int
    max_seeds: int
    information: float
    level: float
    tie_level: float
    alpha: float
    margin: float
    comparisons: tuple[Comparison, ...]
    p_pairs: Mapping[str, Mapping[str, float]]
    correlation: float | None
    variance_removed: float | None
    power: float
    detectable_gap: float
    power_blocks: int
    prospect: float | None = None
    diverged: Mapping[str, int] = field(default_factory=dict)
    bounds: Mapping[str, int] = field(default_factory=dict)
    all_diverged: bool = False
    all_bounds: bool = False
    baseline: str | None = None
    baseline_gaps: tuple[BaselineGap, ...] = ()
    baseline_prospect: float | None = None
    recommended: str | None = None
    seeds_to_decide: int | None = None
    tie_margin: float | None = None
    regrets: Mapping[str, float] = field(default_factory=dict)
    less_reliable: Mapping[str, float] = field(default_factory=dict)

    @property
    def baseline_beaten_by(self) -> tuple[str, ...]:
        """Those that beat the baseline, the largest lead first."""
        return tuple(gap.name for gap in self.baseline_gaps if gap.beats)

    @property
    def baseline_status(self) -> BaselineStatus | None:
        """`beaten`; `kept` if no candidate is better by more than the margin; else `open`."""
        if self.baseline is None:
            return None
        if self.baseline_beaten_by:
            return "beaten"
        if self.status in ("winner", "tie") and self.baseline in self.tie_set:
            return "kept"
        return "kept" if self.regrets.get(self.baseline, np.inf) <= self.margin else "open"

    @property
    def regret(self) -> float | None:
        """The bound in `regrets` for the recommended candidate; None if there is none."""
        return None if self.recommended is None else self.regrets.get(self.recommended)

    @property
    def raced(self) -> int:
        """Number of candidates in the race."""
        return len(self.comparisons) + 1

    def deciding_interval(self, comparison: Comparison) -> tuple[float, float]:
        """The interval of the leader's lead on which the decision rests: that of equivalence for the tied."""
        if self.status == "tie" and comparison.name in self.tie_set:
            return comparison.tie_low, comparison.tie_high
        return comparison.low, comparison.high

    @property
    def p_value(self) -> float:
        """The leader's largest p-value against any other candidate: that of the claim "winner"."""
        return max(comparison.p_value for comparison in self.comparisons)

    @property
    def lead(self) -> float:
        """Lower confidence bound of the leader's smallest lead, in units of the metric."""
        return min(comparison.low for comparison in self.comparisons)

    def to_json(self) -> dict[str, Any]:
        """The decision as plain data, for the verdict's evidence."""
        return asdict(self)


@dataclass(frozen=True)
class Result:
    """One candidate of a race with its scores, in units of the metric.

    Attributes:
        name: The candidate.
        mean: Mean score over its seeds.
        std: Standard deviation over its seeds (n - 1 in the denominator).
        ci_low: Lower end of the mean's confidence interval at level 1 - alpha.
        ci_high: Its upper end.
        scores: Score by seed; NaN where the candidate diverged.
        gap_to_leader: Mean lead of the leader on the seeds of both; positive for a worse candidate whatever
            the metric's direction, 0 for the leader.
        gap_low: Lower end of the gap's interval, see `Decision.deciding_interval`; 0 for the leader.
        gap_high: Its upper end.
        p_value: Two-sided paired t-test against the leader; None for the leader.
        p_adjusted: The same after Holm's correction over all pairs of the race.
        diverged: Number of seeds on which it diverged.
        n_seeds: Number of seeds on which it was trained.
        dropped_at: Number of seeds at the look that stopped it; None if it was not stopped.
    """

    name: str
    mean: float
    std: float
    ci_low: float
    ci_high: float
    scores: Mapping[int, float]
    gap_to_leader: float
    gap_low: float
    gap_high: float
    p_value: float | None
    p_adjusted: float | None
    diverged: int
    n_seeds: int
    dropped_at: int | None

    @property
    def failure_bound(self) -> float:
        """Upper bound of the rate at which it diverges, with one-sided confidence of 95 %."""
        return failure_bound(self.diverged, self.n_seeds)
