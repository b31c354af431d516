"""Score functions without torch, and a study of one without MLflow."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from initsearch.execution import SerialExecutor
from initsearch.finder.settings import make_settings
from initsearch.plan import InitPlan
from initsearch.search import Study, Verdict
from initsearch.study_run import Quiet
from initsearch.tasks.score import ScoreTask

NAMES = ("he_normal", "orthogonal", "lecun_normal")
SPACE: dict[str, Any] = {"plans": {name: name for name in NAMES}}
#: What each plan scores at the full budget of 8, apart from its seed's luck.
HEIGHTS = {"he_normal": 1.0, "orthogonal": 0.6, "lecun_normal": 0.3, "torch_default": 0.2}


def name_of(plan: InitPlan) -> str:
    """The initializer that a plan has for every weight."""
    return next(name for name in HEIGHTS if plan == InitPlan.from_spec(name))


def luck(name: str, seed: int) -> float:
    """A seed's luck: most of it is shared by all plans."""
    own = np.random.default_rng([seed, len(name)]).normal()
    return float(np.random.default_rng(seed).normal() + 0.01 * own)


class Scored:
    """A score that records its calls."""

    def __init__(self, score: Callable[..., Any] | None = None) -> None:
        self.calls: list[tuple[str, int, Any]] = []
        self._score = score

    def __call__(self, plan: InitPlan, seed: int, budget: float = 8) -> Any:
        name = name_of(plan)
        self.calls.append((name, seed, budget))
        if self._score is not None:
            return self._score(name, seed, budget)
        return HEIGHTS[name] * budget / 8 + luck(name, seed)

    def seeds(self, budget: float) -> set[int]:
        return {seed for _, seed, at in self.calls if at == budget}


def study(score: Callable[..., Any], folder: Path, **given: Any) -> Verdict:
    """What `init_find` does, without MLflow's records, which take seconds."""
    budget = given.pop("budget", 8)
    defaults: dict[str, Any] = {
        "name": "test",
        "architecture": "score",
        "space": SPACE,
        "metric": "score",
        "mode": None,
        "baselines": None,
        "n_trials": 8,
        "seed": 0,
        "workers": 1,
        "job_timeout": None,
        "output_dir": folder,
        "search": None,
        "race": {"max_seeds": 4},
    }
    settings = make_settings(ScoreTask(score, budget), max_epochs=budget, **(defaults | given))
    return Study(settings, Untracked(), Quiet()).run(SerialExecutor())


class Untracked:
    """A tracker that keeps nothing."""

    def start_study(self, study: Any) -> None: ...

    def start_candidate(self, candidate: Any) -> None: ...

    def measure(self, candidate: str, measurements: Any) -> None: ...

    def end_candidate(self, candidate: str, status: str, reason: str) -> None: ...

    def end_study(self, verdict: Verdict) -> None: ...

    def close(self) -> None: ...
