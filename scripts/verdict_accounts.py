"""How many candidate-seeds each procedure needs for one verdict at the same alpha and power.

The power that all are held to is the search's own: its race has `max_seeds` blocks at most, and with
them, at the level of its last look, it sees some gap between the leader and the closest other with
the power asked for. A fixed number of seeds must see that same gap with that power at alpha: B1 by
a paired t-test, whose spread is that of the differences within blocks; B0, whose trials each have a
seed of their own, by an unpaired one, whose spread is that of a candidate over seeds. Both spreads
are those that the race measured. (The looks before the last add to the search's power, and an end
for futility takes some of it: neither is counted; the margin is the same for all and cancels out.)
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

MOST = 100_000  # seeds; more than that is no experiment


@dataclass(frozen=True)
class Run:
    """The search as it was run: a command, from its start to its end."""

    verdict: Mapping[str, Any]
    settings: Mapping[str, Any]
    cost: Cost


#: `prctl`'s number for becoming the one to whom processes fall whose parent has ended (linux/prctl.h).
PR_SET_CHILD_SUBREAPER = 36


def wait_for_all() -> None:
    """Wait for every process below this one, so that its processor time is counted.

    The process from which a search's workers are forked ends a moment after the search itself.
    """
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def run_search(overrides: Sequence[str]) -> Run:
    """Run `python -m initsearch` in an empty folder."""
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
    """What a verdict takes, by procedure. All numbers are counted or computed, none is timed.

    Attributes:
        candidates: Different candidates of the search.
        entrants: Those of the race, the baseline among them.
        epochs: The full budget.
        search_seeds: Blocks of the search.
        search_epochs: Candidate-epochs that the search trained.
        race_seeds: Candidate-seeds at full budget that the race trained.
        max_seeds: Blocks that the race might have taken.
        alpha: Chance of a false winner.
        power: Chance of seeing `gap`.
        gap: The gap that all procedures shall see, in points (percent).
        paired_spread: Standard deviation of the leader's difference to the closest other, in points.
        spread: Standard deviation of a candidate over seeds, in points.
        correlation: Mean correlation of two candidates over blocks.
        paired: Seeds for the gap, paired.
        unpaired: Seeds for the gap, unpaired.
        kept: Share of the epochs that a MedianPruner leaves.
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
        """Candidate-seeds at full budget that the search and the race trained."""
        return self.search_epochs / self.epochs + self.race_seeds

    def needs(self, baseline: str, shortlisted: bool) -> float:
        """Candidate-seeds at full budget of a baseline procedure.

        Args:
            baseline: `B0` or `B1`.
            shortlisted: Whether it searches first, with as many seeds as ours, and compares no more
                than the short list with the fixed number; else it compares all candidates so.
        """
        seeds = self.unpaired if baseline == "B0" else self.paired
        kept = self.kept if baseline == "B0" else 1.0
        if not shortlisted:
            return self.candidates * seeds * kept
        return self.candidates * self.search_seeds * kept + self.entrants * seeds


def account(run: Run, power: float) -> Account:
    """Count what the search took, and compute what the others would need."""
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
        sys.exit("the race's scores do not vary: nothing can be said about power")
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
    """Seeds with which a two-sided paired t-test sees the gap."""
    return next(n for n in range(2, MOST) if pairs.power(gap, spread, n, alpha) >= power)


def seeds_unpaired(gap: float, spread: float, alpha: float, power: float) -> int:
    """Seeds per candidate with which a two-sided two-sample t-test sees the gap (noncentral t)."""
    for n in range(2, MOST):
        freedom, shift = 2 * (n - 1), gap / spread * (n / 2) ** 0.5
        bound = stats.t.ppf(1 - alpha / 2, freedom)
        if stats.nct.sf(bound, freedom, shift) + stats.nct.cdf(-bound, freedom, shift) >= power:
            return n
    sys.exit(f"a gap of {gap} points at a spread of {spread} needs more than {MOST} seeds")


def share_kept(
    scores: Sequence[Mapping[str, float | None]], epochs: float, times: int = 20
) -> float:
    """The share of epochs that Optuna's MedianPruner leaves, by replaying the search's own scores.

    Args:
        scores: By candidate its score by rung (epochs); what a rung did not reach stands as at the
            last one, and a diverged candidate's score is 0. Each epoch has the score of the last
            rung up to it.
        epochs: The full budget.
        times: How often each candidate comes by, in an order drawn anew.
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
