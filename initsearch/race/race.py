"""The race: paired blocks come in, and at looks declared beforehand a winner is named, or not.

The rules, so that "winner" is never cheap:

- A block is one seed that all candidates share. Scores are compared within blocks only.
- Candidate i *beats* j when the whole confidence interval of their gap, at the look's level, lies
  above the margin. The levels come from a spending function of O'Brien-Fleming type, so that
  all looks together err with probability alpha.
- **Winner**: the leader by mean beats every other candidate. To be named falsely, one of two tied
  best candidates has to beat the other, so this needs no further correction.
- **Tie**: no winner, and the leader is shown to be equivalent (TOST, with a spending of alpha of
  its own) to all others of the tie set. Candidates with the same score on every block are a tie.
- The **tie set** is the leader and all that it does not beat after Holm's correction over all
  pairs. What it does beat is stopped: it can no longer win. Protected candidates (the baseline)
  train on.
- A winner must have beaten each stopped candidate itself, on the blocks that both have; one that
  only an earlier leader has beaten belongs to the tie set.
- **Undecided**: the blocks are spent, nothing that is still trained could change the outcome, or the blocks
  left would do so with a chance below `RaceRules.futility`.
- A diverged run is a result: it gets one fixed bad score (`RaceRules.diverged_score`), the same for
  every candidate. Setting a candidate aside for one divergence would crown one of two equal ones.

How far alpha holds, by simulation of two equal candidates without a margin and 12 seeds: normal
scores 5.0% false winners, heavy-tailed 4%, skewed 2.5 to 4%, uniform 5.5%; where about half of the
runs collapse, so that scores fall into two sharp modes, 5.5 to 6% (a t-test on four blocks cannot
know better). A margin lowers all of them.
"""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from initsearch.errors import ConfigError
from initsearch.race import pairs
from initsearch.race.futility import chance_of_decision
from initsearch.race.pairs import Evidence, Floats, oriented, weigh
from initsearch.race.rules import Decision, RaceRules, Result, Status


class Race:
    """Candidates on paired blocks, from the first block to the decision.

    The state is the scores alone: told the same blocks in the same order, a race decides the same.

    Args:
        names: The candidates, at least two, unique; the earlier one leads where means are equal.
        rules: What decides.
        protected: Names that are trained to the end, even when they can no longer win: the
            baseline, whose gap the report wants on all blocks. They are judged like all others.

    Attributes:
        active: Names still being trained.
        next_look: Number of blocks to have before the next decision; None when decided.
        seeds: The blocks told so far, in order.
        decisions: All decisions so far, one per look.
        dropped_at: Number of blocks at the look that stopped a candidate, by name.

    Raises:
        ConfigError: Fewer than two names, a name twice, an unknown protected name.
    """

    def __init__(
        self, names: Sequence[str], rules: RaceRules, protected: Collection[str] = ()
    ) -> None:
        if len(names) < 2 or len(set(names)) != len(names):
            raise ConfigError(f"a race needs two or more different candidates: got {list(names)}")
        unknown = sorted(set(protected) - set(names))
        if unknown:
            raise ConfigError(f"protected candidates must be in the race: got {unknown}")
        self.names = tuple(names)
        self.rules = rules
        self.protected = frozenset(protected)
        self.active: tuple[str, ...] = self.names
        self.next_look: int | None = rules.schedule[0]
        self.seeds: list[int] = []
        self.decisions: list[Decision] = []
        self.dropped_at: dict[str, int] = {}
        self._index = {name: i for i, name in enumerate(self.names)}
        # NaN: not trained on this block; infinite: diverged on it.
        self._scores: Floats = np.full((len(names), rules.max_seeds), np.nan)

    @property
    def finished(self) -> bool:
        """Whether the race is decided."""
        return self.next_look is None

    def add_block(self, seed: int, scores: Mapping[str, float]) -> None:
        """Tell the scores of one block.

        Args:
            seed: The block; each one counts once.
            scores: Score by name for every active candidate; NaN or infinite where it diverged.
                Scores of stopped candidates are left out of account.

        Raises:
            ConfigError: A score is missing or its name unknown, the seed was told before, or a
                decision is due first.
        """
        if len(self.seeds) == self.next_look or self.next_look is None:
            due = "the race is decided" if self.finished else "call decide() first"
            raise ConfigError(f"no block can follow the {len(self.seeds)} told so far: {due}")
        if seed in self.seeds:
            raise ConfigError(f"a seed is one block of the race: got {seed} a second time")
        missing = [name for name in self.active if name not in scores]
        unknown = [name for name in scores if name not in self._index]
        if missing or unknown:
            raise ConfigError(
                f"a block has a score for each active candidate, and for no stranger: "
                f"missing {missing}, unknown {unknown}"
            )
        for name in self.active:
            score = float(scores[name])
            self._scores[self._index[name], len(self.seeds)] = (
                score if np.isfinite(score) else np.inf
            )
        self.seeds.append(seed)

    def decide(self) -> Decision:
        """Decide at a declared look: winner, tie, undecided, or go on without those dropped.

        Raises:
            ConfigError: This is no declared look, or the race is decided.
        """
        look = len(self.seeds)
        if look != self.next_look:
            raise ConfigError(
                f"the race is decided at looks declared beforehand: got {look} blocks, "
                f"the next look is at {self.next_look}"
            )
        evidence = weigh(self._scores, look, self.rules)
        active = [self._index[name] for name in self.active]
        means = evidence.scores[:, :look].mean(axis=1)  # NaN for the stopped ones
        leader = max(active, key=lambda i: (float(means[i]), -i))
        gap, beats = evidence.table.gap[leader], evidence.beats[leader]
        others = sorted((i for i in range(len(self.names)) if i != leader), key=lambda i: gap[i])
        worse = [i for i in others if beats[i] and evidence.p_holm[leader, i] < evidence.level]
        tied = [i for i in others if (i not in worse if i in active else not beats[i])]
        diverged = np.isinf(self._scores)
        bounds = self._bounds(look)
        only_bounds = self.rules.bound is not None and bool(
            (bounds | ~np.isfinite(self._scores[:, :look])).all()
        )

        status: Status | None = None
        if diverged[leader].sum() == look or only_bounds:
            status = "undecided"
        elif beats[others].all():
            status, tied = "winner", []
        elif (evidence.p_equivalence[leader, tied] <= evidence.tie_level).all():
            status = "tie"
        elif look == self.rules.max_seeds or not set(tied) & set(active):
            status = "undecided"
        prospect = self._prospect(evidence, status)
        seen, level = look, evidence.level
        if prospect is not None and prospect < self.rules.futility:
            # Its power is that of the race as it was planned.
            status, seen, level = "undecided", self.rules.max_seeds, self.rules.levels[-1]
        stopped = [i for i in worse if i in active and self.names[i] not in self.protected]
        dropped = () if status else tuple(self.names[i] for i in stopped)

        runner_up = next(i for i in others if i in active)
        spread, margin = float(evidence.table.spread[leader, runner_up]), self.rules.margin
        complete = self._scores[active, :look]
        shared = pairs.correlation(complete[:, np.isfinite(complete).all(axis=0)])
        decision = Decision(
            status=status,
            leader=self.names[leader],
            tie_set=tuple(self.names[i] for i in [leader, *tied]),
            dropped=dropped,
            look=look,
            max_seeds=self.rules.max_seeds,
            information=look / self.rules.max_seeds,
            level=evidence.level,
            tie_level=evidence.tie_level,
            alpha=self.rules.alpha,
            margin=margin,
            comparisons=tuple(evidence.compare(leader, i, self.names[i]) for i in others),
            p_pairs={
                name: {
                    other: float(evidence.p_holm[i, j])
                    for j, other in enumerate(self.names)
                    if j > i
                }
                for i, name in enumerate(self.names[:-1])
            },
            correlation=shared[0] if shared else None,
            variance_removed=shared[1] if shared else None,
            power=pairs.win_power(float(gap[runner_up]), margin, spread, seen, level),
            detectable_gap=margin + pairs.detectable_gap(spread, seen, level),
            power_blocks=seen,
            prospect=prospect,
            diverged=self._counts(diverged),
            all_diverged=bool(diverged[leader].sum() == look),
            bounds=self._counts(bounds),
            all_bounds=only_bounds,
        )
        self.decisions.append(decision)
        self.active = tuple(name for name in self.active if name not in dropped)
        self.dropped_at.update(dict.fromkeys(dropped, look))
        later = [n for n in self.rules.schedule if n > look]
        self.next_look = None if status else later[0]
        return decision

    def _prospect(self, evidence: Evidence, status: Status | None) -> float | None:
        """The chance that the blocks left decide the race; None where nothing hangs on it."""
        if status is not None or not self.rules.futility:
            return None
        # Those that this look stops have been beaten: nothing of theirs is left open.
        trained = np.isin(self.names, self.active)
        return chance_of_decision(evidence, trained, len(self.seeds), self.rules)

    def _counts(self, found: NDArray[np.bool_]) -> dict[str, int]:
        """Of how many scores something holds, by name, where it holds of any."""
        counts = found.sum(axis=1).tolist()
        return {name: count for name, count in zip(self.names, counts, strict=True) if count}

    def _bounds(self, look: int) -> NDArray[np.bool_]:
        """(K, look) which scores say no more than that their candidate is no better than that."""
        told = self._scores[:, :look]
        if self.rules.bound is None:
            return np.zeros_like(told, dtype=bool)
        sign = 1.0 if self.rules.higher_is_better else -1.0
        better = sign * told >= sign * self.rules.bound
        return np.isfinite(told) & ~better

    def results(self) -> tuple[Result, ...]:
        """The candidates as their scores stand: the leader first, then by gap to it.

        Raises:
            ConfigError: No look has been decided yet.
        """
        if not self.decisions:
            raise ConfigError("results need a decision: call decide() at the first look")
        decision = self.decisions[-1]
        against = {comparison.name: comparison for comparison in decision.comparisons}
        sign = 1.0 if self.rules.higher_is_better else -1.0
        scores = sign * oriented(self._scores, self.rules)
        results = []
        for name in (decision.leader, *against):
            own = scores[self._index[name]]
            own = own[np.isfinite(own)]
            mean, std = float(own.mean()), float(own.std(ddof=1))
            half = -float(stdtrit(len(own) - 1, self.rules.alpha / 2)) * std / len(own) ** 0.5
            told = self._scores[self._index[name], : len(own)]
            results.append(
                Result(
                    name=name,
                    mean=mean,
                    std=std,
                    ci_low=mean - half,
                    ci_high=mean + half,
                    scores={
                        seed: float(score) if np.isfinite(score) else float("nan")
                        for seed, score in zip(self.seeds, told, strict=False)
                    },
                    gap_to_leader=against[name].gap if name in against else 0.0,
                    p_value=against[name].p_value if name in against else None,
                    diverged=int(np.isinf(told).sum()),
                    n_seeds=len(own),
                    dropped_at=self.dropped_at.get(name),
                )
            )
        return tuple(results)
