"""How often the race errs when it should not: simulated null cases through the real decision code.

    python scripts/simulate_race.py --races 3000

Rows are cases in which several candidates are equally good, and a few with a single best one. Columns are
the rates of false winners, of false claims that the baseline is beaten, and of false ties, how often the
bounds of all candidates' regrets hold, how often a single best candidate is found, and the mean number of
seeds. A rate is followed by its upper 95 % confidence bound, a coverage by its lower one (Clopper-Pearson).
The rule `old` tests by t alone: without the stricter test of a doubted lead, without the correction for
skewness, without the sign-flip test.
"""

import argparse
import itertools
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

from initsearch.race import Race, RaceRules
from initsearch.race.judged import JudgedPairs, weigh
from initsearch.race.look import Look
from initsearch.race.pairs import Pairs

Floats = NDArray[np.float64]
Noise = Callable[[np.random.Generator, int], Floats]

SD = 0.004  # of a candidate's own noise
GUESS = 0.1
AT_ONCE = 250  # races; sixteen candidates take 90 MB
SKEWED_MEAN = 1.0  # of an exponential distribution


@dataclass(frozen=True)
class Case:
    """True means, and the noise of a race as (candidates, blocks) in units of `SD`.

    Attributes:
        means: One per candidate, in units of the metric. The last candidate is the baseline.
        noise: Draws the noise for a number of blocks.
        tie_gap: The case is one of false ties: the margin is as large as the gap between the best two.
    """

    means: tuple[float, ...]
    noise: Noise
    tie_gap: bool = False


def normal(*spreads: float) -> Noise:
    """Independent normal noise with these standard deviations."""
    column = np.array(spreads)[:, None]
    return lambda rng, blocks: column * rng.normal(size=(len(spreads), blocks))


def skewed(*spreads: float) -> Noise:
    """Exponential noise with rare low values; a standard deviation below 0 stands for normal noise."""
    column = np.array(spreads)[:, None]

    def draw(rng: np.random.Generator, blocks: int) -> Floats:
        low = SKEWED_MEAN - rng.exponential(size=(len(spreads), blocks))
        return np.where(column > 0, column * low, -column * rng.normal(size=low.shape))

    return draw


def shared(spread: float, noise: Noise) -> Noise:
    """The noise, plus normal noise with this standard deviation that all candidates of a block share."""
    return lambda rng, blocks: noise(rng, blocks) + spread * rng.normal(size=(1, blocks))


def heavy(rng: np.random.Generator, blocks: int) -> Floats:
    """Student's t with three degrees of freedom, scaled to a standard deviation of 1."""
    return rng.standard_t(3, size=(2, blocks)) / math.sqrt(3)


def images(rng: np.random.Generator, blocks: int) -> Floats:
    """Shares of 250 images."""
    return (rng.binomial(250, 0.985, size=(2, blocks)) / 250 - 0.985) / SD


def collapse(rng: np.random.Generator, blocks: int) -> Floats:
    """One run in ten stays at the level of a guess."""
    return normal(1.0, 1.0)(rng, blocks) - np.where(rng.random((2, blocks)) < 0.1, 0.85 / SD, 0.0)


CASES = {
    **{f"{k} equal": Case((0.97,) * k, normal(*[1.0] * k)) for k in (2, 3, 5, 8, 16)},
    "two tied at the top": Case((0.97, 0.962, 0.96, 0.95, 0.97), normal(*[1.0] * 5)),
    "heavy tails": Case((0.97,) * 2, heavy),
    "both skewed": Case((0.97,) * 2, skewed(1.0, 1.0)),
    "one skewed 2:1": Case((0.97,) * 2, skewed(2.0, -1.0)),
    "one skewed 4:1": Case((0.97,) * 2, skewed(4.0, -1.0)),
    "one skewed 8:1": Case((0.97,) * 2, skewed(8.0, -1.0)),
    "one skewed 8:1, shared": Case((0.97,) * 2, shared(4.0, skewed(8.0, -1.0))),
    "250 images": Case((0.97,) * 2, images),
    "sd 1:5": Case((0.97,) * 2, normal(5.0, 1.0)),
    "sd 1:5, five": Case((0.97,) * 5, normal(5.0, 1.0, 1.0, 1.0, 1.0)),
    "collapse 10 %": Case((0.97,) * 2, collapse),
    "gap = margin": Case((0.97, 0.969), normal(0.15, 0.15), tie_gap=True),
    "gap = margin, five": Case(
        (0.97, 0.969, 0.969, 0.969, 0.969), normal(*[0.15] * 5), tie_gap=True
    ),
    "baseline 1 sd behind": Case((0.97, 0.97, 0.966), normal(*[0.7] * 3)),
    "noisy at the top": Case((0.97, 0.97, *[0.85] * 3), normal(5.0, 5.0, 1.0, 1.0, 1.0)),
    "lead of 1 sd, five": Case((0.974, *[0.97] * 4), normal(*[math.sqrt(0.5)] * 5)),
    "lead of 2 sd, five": Case((0.978, *[0.97] * 4), normal(*[math.sqrt(0.5)] * 5)),
    "leads one that is dead": Case((0.28, 0.28, 0.1), normal(15.0, 15.0, 0.5)),
    "all dead but one": Case((0.28, 0.1, 0.1), normal(15.0, 0.5, 0.5)),
}


@dataclass(frozen=True)
class Outcome:
    """What a finished race says, by candidates' indices."""

    status: str
    look: int
    tie_set: tuple[int, ...]
    beats_baseline: bool
    regrets: Mapping[int, float]


def race(scores: Floats, rules: RaceRules) -> Outcome:
    """A race over all its looks, as a study runs it; the last candidate is the baseline."""
    names = [str(i) for i in range(len(scores))]
    race = Race(names, rules, baseline=names[-1])
    while race.next_look is not None:
        for block in range(len(race.seeds), race.next_look):
            race.add_block(block, dict(zip(names, scores[:, block].tolist(), strict=True)))
        decision = race.decide()
    return Outcome(
        str(decision.status),
        decision.look,
        tuple(map(int, decision.tie_set)),
        bool(decision.baseline_beaten_by),
        {int(name): regret for name, regret in decision.regrets.items()},
    )


def race_all(scores: Floats, rules: RaceRules) -> list[Outcome]:
    """The same outcomes for (races, candidates, blocks) scores: all races are weighed at once.

    Each `Look` decides by the same code as in a race. What decides nothing is not computed.
    """
    names = tuple(str(i) for i in range(scores.shape[1]))
    seen = np.full_like(scores, np.nan)
    active = np.ones(scores.shape[:2], dtype=bool)
    outcomes: dict[int, Outcome] = {}
    open_ = list(range(len(scores)))
    for before, blocks in itertools.pairwise((0, *rules.schedule)):
        new = np.s_[open_, :, before:blocks]
        seen[new] = np.where(active[open_][..., None], scores[new], np.nan)
        judged = weigh(seen[open_], blocks, rules)
        for place, one in enumerate(list(open_)):
            running = [name for name, is_ in zip(names, active[one], strict=True) if is_]
            look = Look(names, running, names[-1:], seen[one], blocks, rules, names[-1])
            vars(look)["evidence"] = _one_of(judged, place)
            active[one, look.dropped] = False
            if look.status is not None:
                open_.remove(one)
                outcomes[one] = Outcome(
                    look.status,
                    blocks,
                    tuple(look.tie_set),
                    any(gap.beats for gap in look.baseline_gaps),
                    {int(name): regret for name, regret in look.regrets.items()},
                )
    return [outcomes[one] for one in range(len(scores))]


def _one_of(judged: JudgedPairs, place: int) -> JudgedPairs:
    """The evidence of one race of several."""
    table = Pairs(*(getattr(judged.table, part.name)[place] for part in fields(Pairs)))
    values = {part.name: getattr(judged, part.name) for part in fields(JudgedPairs)}
    arrays = {name: x[place] for name, x in values.items() if isinstance(x, np.ndarray)}
    return JudgedPairs(**{**values, **arrays, "table": table})


def simulate(name: str, case: Case, rules: RaceRules, races: int, seed: int) -> list[str]:
    """The cells of a row."""
    if not case.tie_gap:
        rules = replace(rules, margin=0.0)
    rng, means = np.random.default_rng(seed), np.array(case.means)
    best = means.max()
    winners = found = beaten = ties = covered = seeds = 0
    for done in range(0, races, AT_ONCE):
        if sys.stderr.isatty():
            print(f"\r{name}: {done} of {races} races\033[K", end="", file=sys.stderr)
        noise = [case.noise(rng, rules.max_seeds) for _ in range(min(AT_ONCE, races - done))]
        for outcome in race_all(means[:, None] + SD * np.array(noise), rules):
            truth = {one: best - means[one] for one in outcome.regrets}
            worst = means[list(outcome.tie_set)].min()
            winners += outcome.status == "winner" and not case.tie_gap
            beaten += outcome.beats_baseline and means[-1] == best
            ties += outcome.status == "tie" and best - worst >= rules.margin > 0
            covered += all(gap <= outcome.regrets[one] + 1e-12 for one, gap in truth.items())
            found += outcome.status == "winner" and worst == best
            seeds += outcome.look
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    return [
        _rate(winners, races) if np.sum(means == best) > 1 else "-",
        _rate(beaten, races) if means[-1] == best else "-",
        _rate(ties, races) if case.tie_gap else "-",
        _coverage(covered, races),
        _coverage(found, races) if np.sum(means == best) == 1 else "-",
        f"{seeds / races:.1f}",
    ]


def _rate(errors: int, races: int) -> str:
    bound = 1.0 if errors == races else float(betaincinv(errors + 1, races - errors, 0.95))
    return f"{100 * errors / races:.1f} (< {100 * bound:.1f})"


def _coverage(covered: int, races: int) -> str:
    bound = float(betaincinv(covered, races - covered + 1, 0.05)) if covered else 0.0
    return f"{100 * covered / races:.1f} (> {100 * bound:.1f})"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--races", type=int, default=200, help="races per case (default: 200)")
    parser.add_argument("--max-seeds", type=int, default=12, help="default: 12")
    parser.add_argument("--boundary", default="obrien_fleming", help="of both rules")
    parser.add_argument("--rule", choices=("old", "new", "both"), default="both")
    parser.add_argument("--case", help="only cases with this text in their names")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    new = RaceRules(
        max_seeds=options.max_seeds,
        futility=0.0,
        boundary=options.boundary,
        diverged_score=GUESS,
    )
    rules = {"old": replace(new, correct_skew=False, sign_flips=False), "new": new}
    head = [
        "case",
        "rule",
        "false winner %",
        "false beats %",
        "false tie %",
        "regret held %",
        "found %",
        "seeds",
    ]
    widths = [24, 6, 15, 15, 15, 16, 16, 6]
    print("".join(cell.ljust(width) for cell, width in zip(head, widths, strict=True)))
    for name, case in CASES.items():
        if options.case and options.case not in name:
            continue
        for rule in rules if options.rule == "both" else (options.rule,):
            cells = [name, rule, *simulate(name, case, rules[rule], options.races, options.seed)]
            row = "".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
            print(row, flush=True)


if __name__ == "__main__":
    main()
