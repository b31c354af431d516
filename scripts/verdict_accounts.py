"""Count the candidate-seeds that each procedure needs for a verdict at the same alpha and power.

The search sets the power for all procedures. Its race has at most `max_seeds` blocks. With these, at
the level of its last look, it detects a certain gap between the leader and the closest other candidate
with the requested power. A procedure with a fixed number of seeds must detect the same gap with the
same power at alpha. B1 uses a paired t-test, whose spread is that of the differences within blocks.
B0, where each trial has its own seed, uses an unpaired test, whose spread is that of a candidate over
seeds. Both spreads were measured by the race. (Earlier looks add to the search's power and stopping
for futility reduces it; neither is counted. The margin is the same for all and cancels out.)
"""

import ctypes
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from benchmarking import Cost, now
from scipy import stats

from initsearch.race import pairs
from initsearch.race.rules import RaceRules

MOST = 100_000  # seeds; no experiment uses more


@dataclass(frozen=True)
class Run:
    """A run of the search's command: its verdict, its settings and what it took."""

    verdict: Mapping[str, Any]
    settings: Mapping[str, Any]
    cost: Cost


#: `prctl`'s option to become the parent of orphaned descendants (linux/prctl.h).
PR_SET_CHILD_SUBREAPER = 36


def wait_for_all() -> None:
    """Wait for all descendants of this process, which adds their CPU time to its own.

    The process that forks a search's workers ends a moment after the search.
    """
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def run_search(overrides: Sequence[str]) -> Run:
    """Run `python -m initsearch` with these overrides in an empty folder; exit if it fails."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "initsearch", *overrides, f"output_dir={folder}/outputs"]
        begun = now()
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        wall = now()
        wait_for_all()
        cost = Cost(wall.since(begun).wall, now().since(begun).cpu)
        if done.returncode:
            sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-4000:]}")
        (verdict,) = Path(folder, "outputs").glob("*/verdict.json")
        settings = verdict.with_name("settings.json")
        read = [json.loads(file.read_text(encoding="utf-8")) for file in (verdict, settings)]
    return Run(read[0], read[1], cost)


@dataclass(frozen=True)
class Account:
    """The training that a verdict needs, by procedure. All numbers are counted or computed, not timed.

    Attributes:
        candidates: Distinct candidates of the search.
        entrants: Candidates of the race, including the baseline.
        epochs: The full budget.
        search_seeds: Blocks of the search.
        search_epochs: Candidate-epochs trained by the search.
        race_seeds: Candidate-seeds trained by the race at full budget.
        max_seeds: The maximum blocks of the race.
        alpha: Probability of a false winner.
        power: Probability of detecting `gap`.
        gap: The gap that all procedures must detect, in percentage points.
        paired_spread: Standard deviation of the leader's lead over the closest other, in points.
        spread: Standard deviation of a candidate over seeds, in points.
        correlation: Mean correlation of two candidates over blocks.
        paired: Seeds that detect the gap in a paired test.
        unpaired: Seeds per candidate that detect the gap in an unpaired test.
        kept: Share of the epochs that MedianPruner does not prune.
    """

    candidates: int
    entrants: int
    epochs: float
    search_seeds: int
    search_epochs: float
    race_seeds: int
    max_seeds: int
    alpha: float
    power: float
    gap: float
    paired_spread: float
    spread: float
    correlation: float | None
    paired: int
    unpaired: int
    kept: float

    @property
    def ours(self) -> float:
        """Candidate-seeds at full budget trained by the search and the race together."""
        return self.search_epochs / self.epochs + self.race_seeds

    def needs(self, baseline: str, shortlisted: bool) -> float:
        """Candidate-seeds at full budget of a baseline procedure.

        Args:
            baseline: `B0` or `B1`.
            shortlisted: Whether it searches first, with the seeds of our search, and compares only
                the short list at the fixed number of seeds; else it compares all candidates.
        """
        seeds = self.unpaired if baseline == "B0" else self.paired
        kept = self.kept if baseline == "B0" else 1.0
        if not shortlisted:
            return self.candidates * seeds * kept
        return self.candidates * self.search_seeds * kept + self.entrants * seeds


def account(run: Run, power: float) -> Account:
    """Count the training of the search, and compute what the baselines need.

    Args:
        run: The search.
        power: The power at which the gap is detected, 0 to 1.
    """
    verdict, settings = run.verdict, run.settings
    rows = [
        row
        for row in verdict["evidence"]["search"]
        if not row["reason"].startswith("same as trial")  # counted with the one it repeats
    ]
    look = verdict["evidence"]["looks"][-1]
    rules = RaceRules(
        alpha=verdict["alpha"],
        looks=tuple(settings["race"]["looks"]),
        max_seeds=look["max_seeds"],
    )
    alpha, blocks, epochs = rules.alpha, rules.max_seeds, float(settings["max_epochs"])
    closest = look["comparisons"][0]
    paired_spread = 100 * closest["spread"]
    leader, other = (
        next(standing for standing in verdict["candidates"] if standing["name"] == name)
        for name in (look["leader"], closest["name"])
    )
    spread = 100 * ((leader["std"] ** 2 + other["std"] ** 2) / 2) ** 0.5
    if not (paired_spread > 0 and spread > 0):
        sys.exit("the scores of the race do not vary, so power is undefined; train on fewer images")
    gap = pairs.detectable_gap(paired_spread, blocks, rules.levels[-1], power)
    search_seeds = int(settings["search"]["seeds"])
    return Account(
        candidates=len(rows),
        entrants=len(verdict["candidates"]),
        epochs=epochs,
        search_seeds=search_seeds,
        search_epochs=sum(row["epoch"] for row in rows) * search_seeds,
        race_seeds=sum(standing["n_seeds"] for standing in verdict["candidates"]),
        max_seeds=blocks,
        alpha=alpha,
        power=power,
        gap=gap,
        paired_spread=paired_spread,
        spread=spread,
        correlation=look["correlation"],
        paired=seeds_paired(gap, paired_spread, alpha, power),
        unpaired=seeds_unpaired(gap, spread, alpha, power),
        kept=share_kept([row["scores"] for row in rows], epochs),
    )


def seeds_paired(gap: float, spread: float, alpha: float, power: float) -> int:
    """Seeds with which a two-sided paired t-test detects the gap."""
    return next(n for n in range(2, MOST) if pairs.power(gap, spread, n, alpha) >= power)


def seeds_unpaired(gap: float, spread: float, alpha: float, power: float) -> int:
    """Seeds per candidate with which a two-sided two-sample t-test detects the gap (noncentral t)."""
    for n in range(2, MOST):
        freedom, shift = 2 * (n - 1), gap / spread * (n / 2) ** 0.5
        bound = stats.t.ppf(1 - alpha / 2, freedom)
        if stats.nct.sf(bound, freedom, shift) + stats.nct.cdf(-bound, freedom, shift) >= power:
            return n
    sys.exit(f"a gap of {gap} points at a spread of {spread} needs more than {MOST} seeds")


def share_kept(
    scores: Sequence[Mapping[str, float | None]], epochs: float, times: int = 20
) -> float:
    """The share of epochs that Optuna's MedianPruner does not prune, from the search's scores.

    Args:
        scores: For each candidate its score by rung (epochs). Each epoch has the score of the last
            rung up to it. A candidate keeps the score of its last rung; a diverged one scores 0.
        epochs: The full budget.
        times: How often the candidates are replayed, each time in a new random order.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    curves = [
        [_score_at(by_rung, epoch) for epoch in range(1, max(1, round(epochs)) + 1)]
        for by_rung in scores
    ]
    study = optuna.create_study(direction="maximize", pruner=optuna.pruners.MedianPruner())
    draw, trained = random.Random(0), 0
    for _ in range(times):
        for curve in draw.sample(curves, len(curves)):
            trial = study.ask()
            for epoch, score in enumerate(curve):
                trained += 1
                trial.report(score, epoch)
                if trial.should_prune():
                    study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                    break
            else:
                study.tell(trial, curve[-1])
    return trained / (times * sum(map(len, curves)))


def _score_at(by_rung: Mapping[str, float | None], epoch: int) -> float:
    reached = [rung for rung in by_rung if float(rung) <= epoch] or list(by_rung)[:1]
    return (by_rung[reached[-1]] or 0.0) if reached else 0.0
