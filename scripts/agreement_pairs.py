"""Compare two verdicts on one question: check that they are comparable, and explain a difference."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from verdict_accounts import Run


@dataclass(frozen=True)
class Pair:
    """The fast and the exhaustive run of one architecture and study seed.

    Attributes:
        model: The architecture.
        names: All candidates.
        seed: The study's seed.
        fast: The run of the fast path.
        full: The run of the exhaustive search.
    """

    model: str
    names: tuple[str, ...]
    seed: int
    fast: Run
    full: Run

    @property
    def agree(self) -> bool:
        """Whether status and winner are equal and the sets of tied candidates overlap."""
        fast, full = self.fast.verdict, self.full.verdict
        same = (fast["status"], fast["winner"]) == (full["status"], full["winner"])
        return same and bool(set(fast["tie_set"]) & set(full["tie_set"]))

    @property
    def opposed(self) -> bool:
        """Whether one verdict has a winner that the other shows to be beaten."""
        fast, full = self.fast.verdict, self.full.verdict
        beaten = {c["name"] for c in _look(self.fast)["comparisons"] if c["beaten"]}
        return (fast["winner"] not in (None, *full["tie_set"])) or full["winner"] in beaten

    @property
    def regret(self) -> float:
        """How far the fast path's leader is below the exhaustive leader, in points."""
        leader = _look(self.fast)["leader"]
        return 100 * next(
            float(c["gap_to_leader"])
            for c in self.full.verdict["candidates"]
            if c["name"] == leader
        )


def check(pair: Pair) -> None:
    """Check that the exhaustive run was exhaustive and that the runs are comparable.

    Raises:
        RuntimeError: A plan that did not diverge is missing, a candidate lacks a block, there was
            more than one look, or the runs differ in blocks, alpha or margin.
    """
    fast, full = pair.fast.verdict, pair.full.verdict
    blocks, raced = pair.full.settings["race"]["max_seeds"], _raced(pair.full)
    wrong = []
    if missing := set(pair.names) - set(raced) - set(diverged(pair.full)):
        wrong.append(f"the exhaustive race lacks {sorted(missing)}")
    if short := [c["name"] for c in full["candidates"] if c["n_seeds"] != blocks]:
        wrong.append(f"the exhaustive race has fewer than {blocks} blocks of {short}")
    if len(full["evidence"]["looks"]) != 1:
        wrong.append("the exhaustive race has more than one look")
    if only_fast := set(_raced(pair.fast)) - set(raced):
        wrong.append(f"{sorted(only_fast)} raced in the fast path only")
    seeds = [list(c["scores"]) for verdict in (fast, full) for c in verdict["candidates"]]
    if any(each != max(seeds, key=len)[: len(each)] for each in seeds):
        wrong.append("the races have different blocks")
    if any(fast[rule] != full[rule] for rule in ("alpha", "margin", "metric", "dataset")):
        wrong.append("the verdicts differ in alpha, margin, metric or data set")
    if wrong:
        raise RuntimeError(f"{pair.model}, seed {pair.seed}: {'; '.join(wrong)}")


def diverged(run: Run) -> list[str]:
    """Plans that did not enter the race because they diverged in the search."""
    rows = run.verdict["evidence"]["search"]
    return [r["name"] for r in rows if r["status"] == "diverged" and not r["raced"]]


def trained(run: Run) -> tuple[float, float]:
    """Candidate-epochs of the search and of the race; diverged ones count to the end of their rung."""
    seeds, epochs = run.settings["search"]["seeds"], run.settings["max_epochs"]
    search = sum(row["epoch"] for row in run.verdict["evidence"]["search"]) * seeds
    return search, epochs * sum(c["n_seeds"] for c in run.verdict["candidates"])


def same_scores(pair: Pair) -> str:
    """How many scores of the fast race are equal to those of the exhaustive race."""
    full = {c["name"]: c["scores"] for c in pair.full.verdict["candidates"]}
    same = [
        full[c["name"]][seed] == score
        for c in pair.fast.verdict["candidates"]
        for seed, score in c["scores"].items()
    ]
    return f"{sum(same)} of {len(same)}"


def explain(pair: Pair) -> str:
    """Why two verdicts differ, from their own numbers."""
    fast, full = _look(pair.fast), _look(pair.full)
    standings = {c["name"]: c for c in pair.full.verdict["candidates"]}
    lines = [
        f"Seed {pair.seed}, why:\n",
        f"fast: {_grounds(pair.fast)}",
        f"exhaustive: {_grounds(pair.full)}",
    ]
    lines += [
        f"the fast path's leader in the exhaustive race: {_gap(full['leader'], each)}"
        for each in full["comparisons"]
        if each["name"] == fast["leader"]
    ]
    lines += [
        f"not raced by the fast path: {row['name']} ({row['status']}: "
        f"{row['reason'] or 'complete, but not on the short list'}); in the exhaustive race its mean "
        f"is {100 * standings[row['name']]['mean']:.4g}%, "
        f"{100 * standings[row['name']]['gap_to_leader']:.3g} points below the leader"
        for row in pair.fast.verdict["evidence"]["search"]
        if row["name"] in full["tie_set"] and not row["raced"]
    ]
    return "\n- ".join(lines)


def _grounds(run: Run) -> str:
    """The numbers behind a status: the comparisons closest to preventing a winner and a tie."""
    look = _look(run)
    nearest = min(look["comparisons"], key=lambda each: float(each["low"]))
    tied = [each for each in look["comparisons"] if each["name"] in look["tie_set"]]
    least_equal = max(tied, key=lambda each: float(each["p_equivalence"]), default=nearest)
    gaps = dict.fromkeys(_gap(look["leader"], each) for each in (nearest, least_equal))
    return (
        f"{run.verdict['status']} after {look['look']} of {look['max_seeds']} blocks with "
        f"{len(_raced(run))} in the race: {'; '.join(gaps)} (beaten: the interval is above the "
        f"margin of {100 * look['margin']:.3g} points; equivalent: p up to {look['tie_level']:.2g})"
    )


def _look(run: Run) -> Mapping[str, Any]:
    look: Mapping[str, Any] = run.verdict["evidence"]["looks"][-1]
    return look


def _raced(run: Run) -> list[str]:
    return [c["name"] for c in run.verdict["candidates"]]


def _gap(leader: str, other: Mapping[str, Any]) -> str:
    low, gap, high = (100 * other[key] for key in ("low", "gap", "high"))
    return (
        f"{leader} is ahead of {other['name']} by {gap:.3g} points [{low:.3g}, {high:.3g}] on "
        f"{other['blocks']} blocks, equivalence p = {other['p_equivalence']:.2g}"
    )
