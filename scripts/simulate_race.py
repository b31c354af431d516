"""How often the race errs when it should not: simulated null cases through the real decision code.

    python scripts/simulate_race.py --races 3000

Rows are cases in which several candidates are equally good. Columns are the rates of false winners, of false
claims that the baseline is beaten, and of false ties, how often the bounds of all candidates' regrets hold, and
the mean number of seeds. A rate is followed by its upper 95 % confidence bound, a coverage by its lower one
(Clopper-Pearson). The rule `old` tests by t alone: without the stricter test of a more variable leader, without
the correction for skewness, without the sign-flip test.
"""

import argparse
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

from initsearch.race import Decision, Race, RaceRules, look

Floats = NDArray[np.float64]
Noise = Callable[[np.random.Generator, int], Floats]

SD = 0.004  # of a candidate's own noise
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
    "one skewed 4:1": Case((0.97,) * 2, skewed(4.0, -1.0)),
    "one skewed 8:1": Case((0.97,) * 2, skewed(8.0, -1.0)),
    "250 images": Case((0.97,) * 2, images),
    "sd 1:5": Case((0.97,) * 2, normal(5.0, 1.0)),
    "sd 1:5, five": Case((0.97,) * 5, normal(5.0, 1.0, 1.0, 1.0, 1.0)),
    "collapse 10 %": Case((0.97,) * 2, collapse),
    "gap = margin": Case((0.97, 0.969), normal(0.15, 0.15), tie_gap=True),
    "gap = margin, five": Case(
        (0.97, 0.969, 0.969, 0.969, 0.969), normal(*[0.15] * 5), tie_gap=True
    ),
    "baseline 1 sd behind": Case((0.97, 0.97, 0.966), normal(*[0.7] * 3)),
}


def run(scores: Floats, rules: RaceRules) -> Decision:
    """The decision of a race over all its looks; the last candidate is the baseline."""
    names = [f"c{i}" for i in range(len(scores))]
    race = Race(names, rules, baseline=names[-1])
    while race.next_look is not None:
        for block in range(len(race.seeds), race.next_look):
            race.add_block(block, dict(zip(names, scores[:, block].tolist(), strict=True)))
        decision = race.decide()
    return decision


def simulate(name: str, case: Case, rules: RaceRules, races: int, seed: int) -> list[str]:
    """The cells of a row."""
    if not case.tie_gap:
        rules = replace(rules, margin=0.0)
    rng, means = np.random.default_rng(seed), np.array(case.means)
    best = means.max()
    winners = beaten = ties = covered = seeds = 0
    for done in range(races):
        if sys.stderr.isatty():
            print(f"\r{name}: {done} of {races} races\033[K", end="", file=sys.stderr)
        scores = means[:, None] + SD * case.noise(rng, rules.max_seeds)
        decision = run(scores, rules)
        tied = (means[int(one[1:])] for one in decision.tie_set)
        truth = {one: best - means[int(one[1:])] for one in decision.regrets}
        winners += decision.status == "winner" and not case.tie_gap
        beaten += bool(decision.baseline_beaten_by) and means[-1] == best
        ties += decision.status == "tie" and best - min(tied) >= rules.margin > 0
        covered += all(gap <= decision.regrets[one] + 1e-12 for one, gap in truth.items())
        seeds += decision.look
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    return [
        _rate(winners, races) if np.sum(means == best) > 1 else "-",
        _rate(beaten, races) if means[-1] == best else "-",
        _rate(ties, races) if case.tie_gap else "-",
        _coverage(covered, races),
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
    # The power of a look decides nothing, and takes most of the time.
    vars(look)["needed_leads"] = lambda *_: np.full(1, np.nan)
    new = RaceRules(max_seeds=options.max_seeds, futility=0.0, boundary=options.boundary)
    rules = {"old": replace(new, correct_skew=False, sign_flips=False), "new": new}
    head = [
        "case",
        "rule",
        "false winner %",
        "false beats %",
        "false tie %",
        "regret held %",
        "seeds",
    ]
    widths = [22, 6, 15, 15, 15, 16, 6]
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
