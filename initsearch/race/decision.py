"""What a look at the race decided, and on what evidence."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Status = Literal["winner", "tie", "undecided"]


@dataclass(frozen=True)
class Comparison:
    """The leader against one other candidate, at a look; all gaps in units of the metric.

    Attributes:
        name: The other candidate.
        blocks: Blocks that both have.
        gap: How much worse than the leader it is, on average; negative if better on those blocks.
        low: Lower end of the gap's confidence interval at the level of the look (it holds over all
            looks together).
        high: Its upper end.
        spread: Standard deviation of the paired difference.
        p_value: Paired two-sided t-test of no difference.
        p_holm: The same after Holm's correction over all pairs of the race.
        p_equivalence: TOST of a gap within the margin.
        beaten: Whether the leader beats it (`low` above the margin).
        equivalent: Whether they are shown to be as good as equal.
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
    beaten: bool
    equivalent: bool


@dataclass(frozen=True)
class Result:
    """One candidate of a race, as its scores stand.

    Attributes:
        name: The candidate.
        mean: Mean score over its seeds, in units of the metric.
        std: Standard deviation over its seeds (n - 1 in the denominator), same units.
        ci_low: Lower end of the mean's confidence interval, same units.
        ci_high: Upper end of the mean's confidence interval, same units.
        scores: Score by seed; NaN where the candidate diverged.
        gap_to_leader: How much worse than the leader it is on the seeds that both have; positive for a worse
            candidate whatever the metric's direction, 0 for the leader.
        p_value: Of the paired test against the leader; None for the leader itself.
        diverged: On how many seeds it diverged.
        n_seeds: How many seeds it was trained on.
        dropped_at: Number of seeds at the look that stopped it; None if it stayed to the end.
    """

    name: str
    mean: float
    std: float
    ci_low: float
    ci_high: float
    scores: Mapping[int, float]
    gap_to_leader: float
    p_value: float | None
    diverged: int
    n_seeds: int
    dropped_at: int | None


@dataclass(frozen=True)
class Decision:
    """What a look decided, and on what evidence.

    Attributes:
        status: `winner`, `tie`, `undecided`, or None: the race goes on.
        leader: The best mean among those still trained.
        tie_set: The leader and those that it is not shown to be better than, best first.
        dropped: Stopped at this look, because they can no longer win; none where the race ends.
        look: Blocks seen.
        max_seeds: Blocks at most.
        information: `look / max_seeds`.
        level: Two-sided level of the tests at this look.
        tie_level: Level of each one-sided test of equivalence at this look.
        alpha: As in the rules.
        margin: As in the rules, in units of the metric.
        comparisons: The leader against each other candidate, smallest gap first.
        p_pairs: Holm-adjusted p-value of each pair, by name and name.
        correlation: Mean correlation of two candidates over the blocks; None where not defined.
        variance_removed: Share of a difference's variance that pairing removed; None likewise.
        power: Chance that a true gap as large as that to the runner-up is found, at this look, to exceed the
            margin: what the leader needs to win.
        detectable_gap: The true gap to the runner-up of which that is found with a chance of 0.8.
        power_blocks: Blocks, at the level of their look, of which power and detectable gap are told:
            those seen, or all that the race might have had, where it ended for futility.
        prospect: The chance that the blocks left would name a winner or a tie, as those so far predict it (see
            `futility`); None where it was not asked: none are left, or the race is decided.
        diverged: Number of diverged runs by candidate, where there are any.
        bounds: Number of scores by candidate that are but bounds of the true ones, where there are any.
        all_diverged: Whether no run of the leader came through.
        all_bounds: Whether every score is but a bound of the true one.
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

    @property
    def p_value(self) -> float:
        """The largest p-value of the leader against any other: that of the claim "the winner"."""
        return max(comparison.p_value for comparison in self.comparisons)

    @property
    def lead(self) -> float:
        """What the leader is at least ahead of every other by, with confidence; metric units."""
        return min(comparison.low for comparison in self.comparisons)

    def to_json(self) -> dict[str, Any]:
        """The decision as plain data, for the verdict's evidence."""
        return asdict(self)
