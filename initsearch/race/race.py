"""The race: paired blocks are added, and at looks declared beforehand a winner is named, or not.

The rules:

- A block is one seed that all candidates share. Scores are compared within blocks only.
- Candidate i *beats* j if the whole confidence interval of their gap, at the level of the look, lies above the
  margin. The levels come from a spending function of O'Brien-Fleming type: all looks together err with
  probability alpha.
- **Winner**: the leader by mean beats every other candidate. For a false winner, one of two tied best
  candidates has to beat the other, so no further correction is needed.
- **Tie**: there is no winner, and the leader is shown to be equivalent (TOST, which spends an alpha of its
  own) to all others of the tie set. Candidates with the same score on every block are tied.
- The **tie set** is the leader and all candidates that it does not beat after Holm's correction over all
  pairs. A candidate that it does beat is stopped, because it can no longer win. Protected candidates (the
  baseline) are never stopped.
- A winner must itself have beaten each stopped candidate, on their common blocks. A candidate that only an
  earlier leader has beaten belongs to the tie set.
- **Undecided**: all blocks are used, or no candidate still in training could change the outcome, or the
  remaining blocks would do so with a probability below `RaceRules.futility`, and so would they show that the
  baseline is beaten, if that is still open.
- The **baseline is beaten** if a candidate beats it at a level that holds for all candidates together
  (`RaceRules.family_levels`), or if the winner or the leader does so by the rules above. Under every one of
  these rules, a baseline that is among the best is called beaten with probability alpha at most.
- **What to take** (`recommendation.recommend`) comes with a bound on the **regret**: how much better the truly
  best candidate may be.
- A diverged run is a result: it gets one fixed bad score (`RaceRules.diverged_score`), the same for every
  candidate. To exclude a candidate for one divergence would name one of two equal candidates the winner.

How well alpha holds, by simulation of two equal candidates without a margin and 12 seeds: 4.9 % false winners
for normal scores, 5.0 % for heavy-tailed, 3.6 % where both are skewed to low values, 5.3 to 5.6 % where one is
and varies four to eight times as much (see `critical`), 4.3 % where one run in ten collapses and 6 to 7 % where
a third or more do (see `sign_flips`). A margin lowers all of these. `docs/verdict.md` has more figures.
"""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from scipy.special import stdtrit

from initsearch.errors import ConfigError
from initsearch.race.critical import Floats
from initsearch.race.judged import oriented
from initsearch.race.look import Look
from initsearch.race.rules import Comparison, Decision, RaceRules, Result


class Race:
    """Candidates on paired blocks, from the first block to the decision.

    The scores are the only state: with the same blocks in the same order, a race decides the same.

    Args:
        names: The candidates, at least two, unique. Of equal means, the earlier candidate leads.
        rules: The rules, fixed beforehand.
        protected: Candidates that are never stopped, even if they can no longer win (the baseline, whose gap
            is reported on all blocks). They are compared like all others.
        baseline: The candidate in use now; it is protected. Each decision says whether it is beaten, and
            the race does not end for futility while that may still be shown.
        simplicity: Rank by name, smaller is simpler. In a tie without the baseline, the simplest candidate is
            recommended; candidates without a rank are the least simple.

    Attributes:
        active: Names still in training.
        next_look: Number of blocks needed for the next decision; None if the race is decided.
        seeds: The blocks so far, in order.
        decisions: All decisions so far, one per look.
        dropped_at: Number of blocks at the look that stopped a candidate, by name.

    Raises:
        ConfigError: Fewer than two names, a name given twice, or an unknown name in another argument.
    """

    def __init__(
        self,
        names: Sequence[str],
        rules: RaceRules,
        protected: Collection[str] = (),
        *,
        baseline: str | None = None,
        simplicity: Mapping[str, int] | None = None,
    ) -> None:
        if len(names) < 2 or len(set(names)) != len(names):
            raise ConfigError(f"a race needs two or more different candidates: got {list(names)}")
        others = {"protected": protected, "simplicity": simplicity or {}}
        if baseline is not None:
            others["baseline"] = (baseline,)
        for argument, given in others.items():
            if unknown := sorted(set(given) - set(names)):
                raise ConfigError(
                    f"{argument} candidates must be in the race: got {unknown}, "
                    f"the candidates are {list(names)}"
                )
        self.names = tuple(names)
        self.rules = rules
        self.protected = frozenset(protected) | (set() if baseline is None else {baseline})
        self.baseline = baseline
        self.simplicity = dict(simplicity or {})
        self.active: tuple[str, ...] = self.names
        self.next_look: int | None = rules.schedule[0]
        self.seeds: list[int] = []
        self.decisions: list[Decision] = []
        self.dropped_at: dict[str, int] = {}
        self._index = {name: i for i, name in enumerate(self.names)}
        # NaN: not trained on this block. Infinite: diverged on it.
        self._scores: Floats = np.full((len(names), rules.max_seeds), np.nan)

    @property
    def finished(self) -> bool:
        """Whether the race is decided."""
        return self.next_look is None

    def add_block(self, seed: int, scores: Mapping[str, float]) -> None:
        """Add the scores of one block.

        Args:
            seed: The block; each seed counts once.
            scores: Score by name for every active candidate; NaN or infinite where it diverged. Scores of
                stopped candidates are ignored.

        Raises:
            ConfigError: A score is missing, a name is unknown, the seed was added before, or a decision is
                due first.
        """
        if len(self.seeds) == self.next_look or self.next_look is None:
            due = "the race is decided" if self.finished else "call decide() first"
            raise ConfigError(f"no block can be added after {len(self.seeds)} blocks: {due}")
        if seed in self.seeds:
            raise ConfigError(f"each seed is one block of the race: got {seed} a second time")
        missing = [name for name in self.active if name not in scores]
        unknown = [name for name in scores if name not in self._index]
        if missing or unknown:
            raise ConfigError(
                f"a block needs one score for each active candidate and no other: "
                f"missing {missing}, unknown {unknown}"
            )
        for name in self.active:
            score = float(scores[name])
            self._scores[self._index[name], len(self.seeds)] = (
                score if np.isfinite(score) else np.inf
            )
        self.seeds.append(seed)

    def decide(self) -> Decision:
        """Decide at a declared look: winner, tie, undecided, or continue without the dropped candidates.

        Raises:
            ConfigError: The number of blocks is not that of the next look, or the race is decided.
        """
        blocks = len(self.seeds)
        if blocks != self.next_look:
            raise ConfigError(
                f"the race is decided at looks declared beforehand: got {blocks} blocks, "
                f"the next look is at {self.next_look}"
            )
        look = Look(
            self.names,
            self.active,
            self.protected,
            self._scores,
            blocks,
            self.rules,
            self.baseline,
            self.simplicity,
        )
        decision = look.decide()
        self.decisions.append(decision)
        self.active = tuple(name for name in self.active if name not in decision.dropped)
        self.dropped_at.update(dict.fromkeys(decision.dropped, blocks))
        later = [look for look in self.rules.schedule if look > blocks]
        self.next_look = None if decision.status else later[0]
        return decision

    def results(self) -> tuple[Result, ...]:
        """All candidates with their scores so far: the leader first, then by gap to it.

        Raises:
            ConfigError: There is no decision yet.
        """
        if not self.decisions:
            raise ConfigError("results need a decision: call decide() at the first look")
        decision = self.decisions[-1]
        sign = 1.0 if self.rules.higher_is_better else -1.0
        counted = sign * oriented(self._scores, self.rules)
        return (
            self._result(decision.leader, counted, None),
            *(self._result(against.name, counted, against) for against in decision.comparisons),
        )

    def _result(self, name: str, counted: Floats, against: Comparison | None) -> Result:
        """One candidate; `counted` are the scores with finite ones for diverged runs, as compared."""
        row = self._index[name]
        own = counted[row][np.isfinite(counted[row])]
        recorded = self._scores[row, : len(own)]
        mean, std = float(own.mean()), float(own.std(ddof=1))
        half = -float(stdtrit(len(own) - 1, self.rules.alpha / 2)) * std / len(own) ** 0.5
        low, high = self.decisions[-1].deciding_interval(against) if against else (0.0, 0.0)
        return Result(
            name=name,
            mean=mean,
            std=std,
            ci_low=mean - half,
            ci_high=mean + half,
            scores={
                seed: float(score) if np.isfinite(score) else float("nan")
                for seed, score in zip(self.seeds, recorded, strict=False)
            },
            gap_to_leader=against.gap if against else 0.0,
            gap_low=low,
            gap_high=high,
            p_value=against.p_value if against else None,
            p_adjusted=against.p_holm if against else None,
            diverged=int(np.isinf(recorded).sum()),
            n_seeds=len(own),
            dropped_at=self.dropped_at.get(name),
        )
