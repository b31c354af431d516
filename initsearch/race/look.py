"""One look at a race: who leads, who is beaten, who is tied, and what follows from it.

Each part of a decision is a property of `Look`, in the order in which one follows from the other; `decide`
puts them together. The rules that they implement are in `race`.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from initsearch.race import pairs
from initsearch.race.critical import Floats
from initsearch.race.failures import fails_more_often
from initsearch.race.futility import chance_of_beating, chance_of_decision
from initsearch.race.judged import JudgedPairs, weigh
from initsearch.race.power import needed_leads, seeds_to_decide
from initsearch.race.recommendation import baseline_gaps, recommend, regrets
from initsearch.race.rules import BaselineGap, Decision, RaceRules, Status


@dataclass(frozen=True, eq=False)
class Look:
    """The candidates after some blocks. Properties refer to candidates by their index in `names`.

    Attributes:
        names: All K candidates of the race.
        active: Those still in training.
        protected: Those that are never dropped.
        scores: (K, N) scores, see `judged.oriented`.
        blocks: Number of blocks so far, one of the schedule.
        rules: The rules of the race.
        baseline: The baseline, if there is one; it is protected.
        simplicity: Rank by name, for what to take in a tie, see `recommend`.
    """

    names: tuple[str, ...]
    active: Collection[str]
    protected: Collection[str]
    scores: Floats
    blocks: int
    rules: RaceRules
    baseline: str | None = None
    simplicity: Mapping[str, int] = field(default_factory=dict)

    @cached_property
    def evidence(self) -> JudgedPairs:
        """All pairwise comparisons."""
        return weigh(self.scores, self.blocks, self.rules)

    @cached_property
    def running(self) -> list[int]:
        """The active candidates."""
        return [i for i, name in enumerate(self.names) if name in self.active]

    @cached_property
    def leader(self) -> int:
        """The active candidate with the best mean; the first of several."""
        means = self.evidence.scores[:, : self.blocks].mean(axis=1)
        return max(self.running, key=lambda i: (float(means[i]), -i))

    @cached_property
    def others(self) -> list[int]:
        """All candidates but the leader, smallest gap first."""
        gap = self.evidence.table.gap[self.leader]
        others = (i for i in range(len(self.names)) if i != self.leader)
        return sorted(others, key=lambda i: gap[i])

    @cached_property
    def beaten(self) -> list[int]:
        """Those that the leader beats, also after Holm's correction over all pairs."""
        evidence = self.evidence
        beats, p_holm = evidence.beats[self.leader], evidence.p_holm[self.leader]
        return [i for i in self.others if beats[i] and p_holm[i] < evidence.level]

    @cached_property
    def tied(self) -> list[int]:
        """Those that the leader is not shown to be better than."""
        beats = self.evidence.beats[self.leader]
        # A stopped candidate has passed Holm's correction before, against the leader of that look.
        return [
            i for i in self.others if (i not in self.beaten if i in self.running else not beats[i])
        ]

    @cached_property
    def diverged(self) -> NDArray[np.bool_]:
        """(K, N) which runs diverged."""
        return np.isinf(self.scores)

    @cached_property
    def bounds(self) -> NDArray[np.bool_]:
        """(K, blocks) which scores are only bounds: the candidate may be worse, but is not better."""
        seen = self.scores[:, : self.blocks]
        if self.rules.bound is None:
            return np.zeros_like(seen, dtype=bool)
        sign = 1.0 if self.rules.higher_is_better else -1.0
        return np.isfinite(seen) & ~(sign * seen >= sign * self.rules.bound)

    @cached_property
    def all_diverged(self) -> bool:
        """Whether every run of the leader diverged."""
        return bool(self.diverged[self.leader].sum() == self.blocks)

    @cached_property
    def all_bounds(self) -> bool:
        """Whether every score is only a bound."""
        if self.rules.bound is None:
            return False
        finite = np.isfinite(self.scores[:, : self.blocks])
        return bool((self.bounds | ~finite).all())

    @cached_property
    def outcome(self) -> Status | None:
        """What the tests show; None if more blocks may decide."""
        evidence, leader = self.evidence, self.leader
        if self.all_diverged or self.all_bounds:
            return "undecided"
        if evidence.beats[leader, self.others].all():
            return "winner"
        if (evidence.p_equivalence[leader, self.tied] <= evidence.tie_level).all():
            return "tie"
        if self.blocks == self.rules.max_seeds or not set(self.tied) & set(self.running):
            return "undecided"
        return None

    @cached_property
    def prospect(self) -> float | None:
        """Predicted probability that the remaining blocks decide the race; None if not needed."""
        if self.outcome is not None or not self.rules.futility:
            return None
        # Candidates that this look drops are included: they are beaten, so they leave nothing open.
        return chance_of_decision(self.evidence, self._trained, self.blocks, self.rules)

    @cached_property
    def baseline_prospect(self) -> float | None:
        """Predicted probability that the remaining blocks show the baseline beaten; None if not needed."""
        decided = self.outcome is not None or not self.rules.futility
        if decided or self.baseline is None or any(gap.beats for gap in self.baseline_gaps):
            return None
        baseline = self.names.index(self.baseline)
        return chance_of_beating(self.evidence, self._trained, baseline, self.blocks, self.rules)

    @property
    def _trained(self) -> NDArray[np.bool_]:
        return np.isin(np.arange(len(self.names)), self.running)

    @property
    def futile(self) -> bool:
        """Whether the race ends because the remaining blocks would hardly decide it or beat the baseline."""
        limit = self.rules.futility
        if self.prospect is None or self.prospect >= limit:
            return False
        return self.baseline_prospect is None or self.baseline_prospect < limit

    @property
    def status(self) -> Status | None:
        """The outcome, with the futility rule applied."""
        return "undecided" if self.futile else self.outcome

    @property
    def tie_set(self) -> list[int]:
        """The leader and those it is tied with; the winner alone."""
        return [self.leader] if self.status == "winner" else [self.leader, *self.tied]

    @cached_property
    def baseline_gaps(self) -> tuple[BaselineGap, ...]:
        """Every other candidate against the baseline."""
        if self.baseline is None:
            return ()
        baseline, leader = self.names.index(self.baseline), self.leader
        wins = self.outcome == "winner" or baseline in self.beaten
        return baseline_gaps(self.evidence, self.names, baseline, leader if wins else None)

    @property
    def recommended(self) -> str:
        """The candidate to take."""
        beaten_by = [gap.name for gap in self.baseline_gaps if gap.beats]
        leader, tie_set = self.names[self.leader], self._named(self.tie_set)
        return recommend(self.status, leader, tie_set, self.baseline, beaten_by, self.simplicity)

    @property
    def regrets(self) -> dict[str, float]:
        """See `recommendation.regrets`, by name; empty if the scores bound nothing."""
        if self.all_diverged or self.all_bounds:
            return {}
        bounds = regrets(self.evidence, self.running)
        return dict(zip(self._named(self.running), bounds, strict=True))

    @property
    def less_reliable(self) -> dict[str, float]:
        """`Decision.less_reliable`; each test at the family's level of the pair's last look."""
        mine = self.names.index(self.recommended)
        levels = self.rules.family_levels(len(self.names))
        level = dict(zip(self.rules.schedule, levels, strict=True))
        found = {}
        for i, name in enumerate(self.names):
            blocks = int(self.evidence.table.blocks[mine, i])
            p_value = fails_more_often(self.diverged[mine, :blocks], self.diverged[i, :blocks])
            if p_value <= level[blocks]:
                found[name] = p_value
        return found

    @property
    def dropped(self) -> list[int]:
        """Those that are stopped at this look; none if the race ends."""
        if self.status is not None:
            return []
        stoppable = {i for i in self.running if self.names[i] not in self.protected}
        return [i for i in self.beaten if i in stoppable]

    @property
    def correlation(self) -> tuple[float, float] | None:
        """See `pairs.correlation`; over the active candidates, on blocks where none of them diverged."""
        scores = self.scores[self.running, : self.blocks]
        return pairs.correlation(scores[:, np.isfinite(scores).all(axis=0)])

    @property
    def power(self) -> tuple[float, float, int]:
        """`Decision.power`, `detectable_gap` and `power_blocks`, against all active rivals together."""
        # A race that ended for futility had the power of the race as it was planned.
        blocks = self.rules.max_seeds if self.futile else self.blocks
        level = self.rules.levels[-1] if self.futile else self.evidence.level
        table, leader = self.evidence.table, self.leader
        rivals = [i for i in self.others if i in self.running and table.spread[leader, i] > 0.0]
        if not rivals:  # nothing but twins
            return 0.0, float("nan"), blocks
        seen = self.evidence.scores[:, : self.blocks]
        # Rivals that are not shown to be worse than the nearest one count as equal to it: what sets them apart
        # may be chance, and the power against tied rivals is the lowest.
        offsets = np.maximum(0.0, self.evidence.low[rivals[0], rivals])
        offsets[0] = 0.0
        needed = needed_leads(
            seen[leader],
            seen[rivals],
            table.spread[leader, rivals],
            offsets,
            self.rules.margin,
            blocks,
            level,
            self.rules.correct_skew,
        )
        gap = float(table.gap[leader, rivals[0]])
        detectable = float(np.quantile(needed, pairs.TARGET_POWER))
        return float((needed < gap).mean()), detectable, blocks

    @property
    def seeds_to_decide(self) -> int | None:
        """`Decision.seeds_to_decide`."""
        open_ = [i for i in self.tied if i in self.running]
        if self.status != "undecided" or not open_ or len(open_) < len(self.tied):
            return None
        if self.all_diverged or self.all_bounds:
            return None
        table = self.evidence.table
        return seeds_to_decide(
            table.gap[self.leader, open_], table.spread[self.leader, open_], self.rules
        )

    @property
    def tie_margin(self) -> float | None:
        """`Decision.tie_margin`."""
        if self.status != "undecided" or self.all_diverged or self.all_bounds:
            return None
        table = self.evidence.table
        high = table.gap + table.equivalence_half(self.evidence.tie_level)
        return float(high[self.leader, self.tied].max())

    @property
    def p_pairs(self) -> dict[str, dict[str, float]]:
        """Holm-adjusted p-values of all pairs i < j, by both names."""
        return {
            name: {
                other: float(self.evidence.p_holm[i, j])
                for j, other in enumerate(self.names)
                if j > i
            }
            for i, name in enumerate(self.names[:-1])
        }

    def decide(self) -> Decision:
        """All parts together."""
        correlation, variance_removed = self.correlation or (None, None)
        power, detectable_gap, power_blocks = self.power
        return Decision(
            status=self.status,
            leader=self.names[self.leader],
            tie_set=self._named(self.tie_set),
            dropped=self._named(self.dropped),
            look=self.blocks,
            max_seeds=self.rules.max_seeds,
            information=self.blocks / self.rules.max_seeds,
            level=self.evidence.level,
            tie_level=self.evidence.tie_level,
            alpha=self.rules.alpha,
            margin=self.rules.margin,
            comparisons=tuple(
                self.evidence.compare(self.leader, i, self.names[i]) for i in self.others
            ),
            p_pairs=self.p_pairs,
            correlation=correlation,
            variance_removed=variance_removed,
            power=power,
            detectable_gap=detectable_gap,
            power_blocks=power_blocks,
            seeds_to_decide=self.seeds_to_decide,
            tie_margin=self.tie_margin,
            prospect=self.prospect,
            diverged=self._counts(self.diverged),
            all_diverged=self.all_diverged,
            bounds=self._counts(self.bounds),
            all_bounds=self.all_bounds,
            baseline=self.baseline,
            baseline_gaps=self.baseline_gaps,
            baseline_prospect=self.baseline_prospect,
            recommended=self.recommended,
            regrets=self.regrets,
            less_reliable=self.less_reliable,
        )

    def _named(self, candidates: list[int]) -> tuple[str, ...]:
        return tuple(self.names[i] for i in candidates)

    def _counts(self, found: NDArray[np.bool_]) -> dict[str, int]:
        """The number of true entries by candidate, without zeros."""
        counts = found.sum(axis=1).tolist()
        return {name: count for name, count in zip(self.names, counts, strict=True) if count}
