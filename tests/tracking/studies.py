"""Studies made up for the tests: no training, numbers from a seeded generator."""

import math
import random
import sqlite3
from pathlib import Path
from typing import Any

from initsearch.race import BaselineGap, Status
from initsearch.search.tracker import Candidate, Measurement, StudyInfo, Tracker
from initsearch.search.verdict import (
    BaselineAnswer,
    Evidence,
    HeldOutScore,
    Standing,
    Verdict,
)

SCHEMES = {
    "he_normal": 0.9712,
    "he_uniform": 0.9709,
    "glorot_uniform": 0.9690,
    "orthogonal": 0.9704,
    "torch_default": 0.9655,
    "lecun_normal": 0.9680,
    "normal(std=0.01)": 0.9012,
    "normal(std=1)": 0.4130,
    "zeros": 0.1135,
}
FEW = {name: SCHEMES[name] for name in ("he_normal", "torch_default", "zeros")}


def made_up_verdict(
    means: dict[str, float] | None = None,
    *,
    status: Status = "winner",
    n_seeds: int = 8,
    spread: float = 0.0012,
    metric: str = "val_accuracy",
    diverged: tuple[str, ...] = (),
    dataset: str = "mnist",
    requested_dataset: str = "mnist",
    margin: float = 0.3,
) -> Verdict:
    """A verdict over `means`; scores share their seed's luck; in a tie the first half is tied."""
    means = SCHEMES if means is None else means
    higher = metric != "val_loss"
    order = sorted(means, key=lambda name: -means[name] if higher else means[name])
    rng = random.Random(0)
    luck = {seed: rng.gauss(0, spread) for seed in range(100, 100 + n_seeds)}
    standings = []
    leader: dict[int, float] = {}
    for name in order:
        dropped = n_seeds // 2 if abs(means[name] - means[order[0]]) > 0.05 else None
        seeds = list(luck)[:dropped]
        scores = {s: means[name] + luck[s] + rng.gauss(0, spread / 2) for s in seeds}
        leader = leader or scores
        lost = 2 if name in diverged else 0
        for seed in seeds[:lost]:
            scores[seed] = math.nan
        there = [v for v in scores.values() if not math.isnan(v)]
        mean = sum(there) / len(there)
        std = math.sqrt(sum((v - mean) ** 2 for v in there) / (len(there) - 1))
        half = 2.3 * std / math.sqrt(len(there))
        gaps = [leader[s] - scores[s] for s in seeds if not math.isnan(scores[s])]
        gap = sum(gaps) / len(gaps) * (1 if higher else -1)
        p_value = None if name == order[0] else max(1e-5, 0.3 - 60 * gap)
        standings.append(
            Standing(
                name=name,
                scheme=name.partition("(")[0],
                plan={"rules": [{"where": {"activation": "relu"}, "weight": "he_normal"}]},
                lr=0.1,
                mean=mean,
                std=std,
                ci_low=mean - half,
                ci_high=mean + half,
                scores=scores,
                gap_to_leader=gap,
                p_value=p_value,
                diverged=lost,
                n_seeds=len(seeds),
                dropped_at=dropped,
                gap_low=gap - spread if leader is not scores else 0.0,
                gap_high=gap + spread if leader is not scores else 0.0,
                p_adjusted=None if p_value is None else min(1.0, 3 * p_value),
                failure_bound=0.66 if lost else 0.31,
            )
        )
    tie_set = tuple(order[:1] if status == "winner" else order[: max(2, len(order) // 2)])
    words = {
        "winner": f"{order[0]} beats every other scheme on convnet/{dataset}; 8 seeds, p = 0.002.",
        "tie": f"{' and '.join(tie_set)} are equal within {margin} points on convnet/{dataset}.",
        "undecided": f"The seeds do not tell {' from '.join(tie_set[:2])} on convnet/{dataset}.",
    }
    baseline = "torch_default" if "torch_default" in means else order[-1]
    answer = answer_for(baseline, standings, spread)
    return Verdict(
        status=status,
        winner=order[0] if status == "winner" else None,
        baseline=baseline,
        architecture="convnet",
        dataset=dataset,
        requested_dataset=requested_dataset,
        metric=metric,
        higher_is_better=higher,
        alpha=0.05,
        margin=margin,
        n_seeds=n_seeds,
        candidates=tuple(standings),
        tie_set=tie_set,
        sentence=words[status],
        test={
            "leader": HeldOutScore(order[0], 0.9695),
            "baseline": HeldOutScore("torch_default", 0.9631),
        },
        evidence=Evidence(),
        wall_seconds=123.4,
        cpu_seconds=240.0,
        versions={"torch": "2.14.1"},
        recommended=order[0] if answer.beaten_by else baseline,
        against_baseline=answer,
        regret=0.0 if status == "winner" else 0.00123,
    )


def answer_for(baseline: str, standings: list[Standing], spread: float) -> BaselineAnswer:
    """Leads over the baseline with made-up intervals."""
    mine = next(one.gap_to_leader for one in standings if one.name == baseline)
    leads = {one.name: mine - one.gap_to_leader for one in standings if one.name != baseline}
    gaps = tuple(
        BaselineGap(name, 8, lead, lead - spread, lead + spread, 0.01, lead - spread > 0.003)
        for name, lead in sorted(leads.items(), key=lambda item: -item[1])
    )
    beaten_by = tuple(gap.name for gap in gaps if gap.beats)
    return BaselineAnswer("beaten" if beaten_by else "open", beaten_by, gaps)


def made_up_study(
    folder: Path,
    dataset: str = "mnist",
    name: str = "convnet-1a2b",
    metric: str = "val_accuracy",
) -> StudyInfo:
    return StudyInfo(
        name=name,
        folder=folder,
        architecture="convnet",
        dataset=dataset,
        requested_dataset="mnist",
        metric=metric,
        higher_is_better=metric != "val_loss",
        settings={
            "model": {"name": "convnet", "activation": "relu", "channels": [16, 32]},
            "data": {"name": dataset, "train_size": 12000},
            "n_trials": 12,
        },
        n_trials=12,
        steps_per_epoch=94,
    )


def made_up_candidate(number: int, name: str, scheme: str | None = None) -> Candidate:
    scheme = scheme or name.partition("(")[0]
    return Candidate(
        number=number,
        name=name,
        scheme=scheme,
        plan={
            "rules": [
                {
                    "where": {"activation": "relu"},
                    "weight": {
                        "name": "variance_scaling",
                        "factor": 2.0,
                        "mode": "fan_in",
                        "distribution": "truncated_normal",
                    },
                    "bias": "zeros",
                }
            ],
            "default": {"weight": "keep", "bias": "keep"},
        },
        lr=0.05,
        params={"relu.scheme": scheme, "relu.variance_scaling.factor": 2.0},
        baseline=name == "torch_default",
    )


def curve(name: str, seed: int, final: float, steps: int = 10) -> list[Measurement]:
    """Accuracies and losses that approach `final`; `normal(std=1)` blows up."""
    rng = random.Random(f"{name}/{seed}")
    measurements = []
    for index in range(1, steps + 1):
        share = 1 - math.exp(-4 * index / steps)
        accuracy = 0.1 + (final - 0.1) * share + rng.gauss(0, 0.002)
        loss = 2.3 * (1 - share * (final - 0.1)) + abs(rng.gauss(0, 0.01))
        step = 94 * index
        if name.startswith("normal(std=1)"):
            loss = 900.0 / index
            if seed == 100 and index > 4:
                accuracy, loss = math.nan, math.inf
        measurements += [
            Measurement(f"val_accuracy/seed_{seed}", accuracy, step),
            Measurement(f"val_loss/seed_{seed}", loss, step),
        ]
    return measurements


def tell(tracker: Tracker, study: StudyInfo, verdict: Verdict, *, extra: int = 12) -> None:
    """Report a whole study to a tracker: `extra` candidates are pruned or fail in the search."""
    rng = random.Random(1)
    tracker.start_study(study)
    finals = {standing.name: standing.mean for standing in verdict.candidates}
    for number in range(extra):
        near = rng.choice(list(finals))
        finals[f"{near.partition('(')[0]}(variant={number})"] = finals[near] - rng.random() * 0.05
    for number, (name, final) in enumerate(finals.items()):
        tracker.start_candidate(made_up_candidate(number, name))
        in_race = number < len(verdict.candidates)
        for seed in (0, 1):
            tracker.measure(name, curve(name, seed, final, steps=10 if in_race else 4))
        tracker.measure(name, [Measurement(study.metric, final, 940 if in_race else 376)])
        if in_race:
            for seed in range(100, 104):
                tracker.measure(name, curve(name, seed, final))
            diverged = name.startswith("normal(std=1)")
            tracker.end_candidate(
                name,
                "diverged" if diverged else "complete",
                "the loss was infinite at step 470" if diverged else "",
            )
        elif number % 5 == 0:
            tracker.end_candidate(name, "failed", "out of memory")
        else:
            tracker.end_candidate(name, "pruned", "rung 1: below the better half")
    tracker.end_study(verdict)
    tracker.close()


def rows(output: Path, query: str, *values: Any) -> list[tuple[Any, ...]]:
    """What the store's database file itself says."""
    database = sqlite3.connect(output / "mlflow.db")
    try:
        return database.execute(query, values).fetchall()
    finally:
        database.close()
