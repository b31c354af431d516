"""The verdict: what a study found, as plain data written to `verdict.json` and read back."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self, get_args

from initsearch.errors import ConfigError
from initsearch.files import write_whole
from initsearch.race.rules import Status


@dataclass(frozen=True)
class Standing:
    """One candidate of the race, as the verdict lists it.

    Attributes:
        name: The candidate's readable, unique name.
        scheme: The scheme family it stands for.
        plan: The plan's specification.
        lr: The learning rate that it was trained with.
        mean: Mean score over its seeds, in units of the metric (accuracy lies in [0, 1]).
        std: Standard deviation over its seeds (n - 1 in the denominator), same units.
        ci_low: Lower end of the mean's confidence interval, same units.
        ci_high: Upper end of the mean's confidence interval, same units.
        scores: Score by seed; NaN where the candidate diverged.
        gap_to_leader: How much worse than the leader it is on the seeds that both have, in units of
            the metric, positive for a worse candidate whatever the metric's direction; 0 for the
            leader.
        p_value: Of the paired test against the leader; None for the leader itself.
        diverged: On how many seeds it diverged.
        n_seeds: How many seeds it was trained on.
        dropped_at: Number of seeds at the look that stopped it; None if it stayed to the end.
    """

    name: str
    scheme: str
    plan: Mapping[str, Any]
    lr: float
    mean: float
    std: float
    ci_low: float
    ci_high: float
    scores: Mapping[int, float]
    gap_to_leader: float
    p_value: float | None
    diverged: int
    n_seeds: int
    dropped_at: int | None


@dataclass(frozen=True)
class Verdict:
    """What a study found: winner, tie or undecided, with the evidence.

    Attributes:
        status: `winner`, `tie` (shown to be as good as equal) or `undecided` (neither could
            be shown).
        winner: Name of the winner; None unless `status` is `winner`.
        baseline: Name of the framework's default among the candidates.
        architecture: The model's short name.
        dataset: The data set that was trained on.
        requested_dataset: The data set that was asked for.
        metric: What the candidates were compared by.
        higher_is_better: The metric's direction.
        alpha: Chance of naming a false winner that the race allowed.
        margin: The practical margin as configured (percentage points for an accuracy).
        n_seeds: Seeds that the decision rests on.
        candidates: All candidates of the race, best first.
        tie_set: Names that cannot be told apart from the leader, the leader among them.
        sentence: The verdict in one sentence that can be quoted.
        test: Scores on the test set: `winner` (or `leader`) and `baseline`.
        evidence: Correlation of the seeds, achieved power, looks, rank agreement, p-values, ...
        wall_seconds: Time from start to verdict.
        cpu_seconds: Processor time of all workers.
        versions: Version by package.

    Raises:
        ConfigError: The status is unknown, or status and winner contradict each other.
    """

    status: Status
    winner: str | None
    baseline: str
    architecture: str
    dataset: str
    requested_dataset: str
    metric: str
    higher_is_better: bool
    alpha: float
    margin: float
    n_seeds: int
    candidates: tuple[Standing, ...]
    tie_set: tuple[str, ...]
    sentence: str
    test: Mapping[str, Any]
    evidence: Mapping[str, Any]
    wall_seconds: float
    cpu_seconds: float
    versions: Mapping[str, str]

    def __post_init__(self) -> None:
        if self.status not in get_args(Status):
            raise ConfigError(
                f"verdict status must be one of {', '.join(get_args(Status))}: got {self.status!r}"
            )
        if (self.winner is not None) != (self.status == "winner"):
            raise ConfigError(
                f"a verdict names a winner exactly when its status is 'winner': got status "
                f"{self.status!r} with winner {self.winner!r}"
            )
        if self.winner is not None and self.winner not in {c.name for c in self.candidates}:
            raise ConfigError(
                f"the verdict's winner must be one of its candidates: got {self.winner!r}"
            )

    def to_json(self) -> dict[str, Any]:
        """The verdict as plain JSON data; NaN and infinity become None, seeds become strings."""
        plain = {f.name: _plain(getattr(self, f.name)) for f in fields(self)}
        plain["candidates"] = [
            {f.name: _plain(getattr(standing, f.name)) for f in fields(standing)}
            for standing in self.candidates
        ]
        return plain

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the verdict as JSON, whole or not at all: a temporary file is moved into place.

        Args:
            path: The file; missing folders are made.

        Returns:
            The path that was written.

        Raises:
            OSError: The folder cannot be written to.
        """
        text = json.dumps(self.to_json(), indent=2, allow_nan=False, ensure_ascii=False) + "\n"
        return write_whole(path, text)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a verdict that `save` wrote; fields that this version does not know are left out.

        Raises:
            ConfigError: The file is missing, no JSON, or lacks a field.
        """
        try:
            plain = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"cannot read the verdict file {os.fspath(path)!r}: {error}; run the search again"
            ) from error
        if not isinstance(plain, dict) or not isinstance(plain.get("candidates"), list):
            raise ConfigError(
                f"{os.fspath(path)!r} is no verdict file: it holds no list of candidates"
            )
        try:
            candidates = tuple(_standing(entry, path) for entry in plain["candidates"])
            known = _known(cls, plain, path)
            tie_set = tuple(known["tie_set"])
        except ConfigError:
            raise
        except (TypeError, AttributeError, ValueError) as error:
            raise ConfigError(
                f"{os.fspath(path)!r} is no verdict file: {error}; run the search again"
            ) from error
        return cls(**{**known, "candidates": candidates, "tie_set": tie_set})


def _known(cls: type, plain: Mapping[str, Any], path: str | os.PathLike[str]) -> dict[str, Any]:
    """Those entries of `plain` that are fields of `cls`; all of them must be there."""
    names = [f.name for f in fields(cls)]
    missing = [name for name in names if name not in plain]
    if missing:
        raise ConfigError(
            f"the verdict file {os.fspath(path)!r} lacks {', '.join(missing)}; run the search again"
        )
    return {name: plain[name] for name in names}


def _standing(plain: Any, path: str | os.PathLike[str]) -> Standing:
    if not isinstance(plain, dict):
        raise ConfigError(f"{os.fspath(path)!r} is no verdict file: a candidate must be a mapping")
    known = _known(Standing, plain, path)
    for name in ("lr", "mean", "std", "ci_low", "ci_high", "gap_to_leader"):
        known[name] = _number(known[name])
    known["scores"] = {int(seed): _number(score) for seed, score in known["scores"].items()}
    return Standing(**known)


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _plain(value: Any) -> Any:
    """`value` in what JSON knows: NaN and infinity as None, string keys, lists."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_plain(entry) for entry in value]
    if hasattr(value, "tolist"):  # a NumPy scalar or array, or a tensor
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
