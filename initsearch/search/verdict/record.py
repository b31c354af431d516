"""The verdict: what a study found, written to `verdict.json` and read back.

Everything here is a frozen dataclass of plain values, so that `verdict.json` is the verdict field by field.
"""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self, get_args

from pydantic import TypeAdapter, ValidationError

from initsearch.errors import ConfigError
from initsearch.files import write_whole
from initsearch.race import BaselineGap, BaselineStatus, Decision, Status
from initsearch.search.verdict.plain_data import to_plain, with_nan

#: How a candidate ended in the search: with the full budget, dropped at a rung or before training, with a loss
#: or weights that are not finite, or with an error.
CandidateStatus = Literal["complete", "pruned", "diverged", "failed"]


@dataclass(frozen=True)
class Speed:
    """How soon a candidate reaches the baseline's final score, as a share of the budget (of the steps).

    Attributes:
        share: Where the mean over the seeds reaches it; NaN if it does not within the budget.
        low: Lower end of the share's interval at level 1 - alpha, for this candidate alone; at least the first
            evaluation.
        high: Its upper end; NaN if it is not within the budget.
    """

    share: float
    low: float
    high: float


@dataclass(frozen=True)
class Standing:
    """One candidate of the race, as the verdict lists it.

    Attributes:
        name: The candidate's readable, unique name.
        scheme: Its scheme family.
        plan: The plan's specification.
        lr: Its learning rate; None if the task does not take one.
        mean: Mean score over its seeds, in units of the metric (accuracy lies in [0, 1]).
        std: Standard deviation over its seeds (n - 1 in the denominator), same units.
        ci_low: Lower end of the mean's confidence interval, same units.
        ci_high: Upper end of the mean's confidence interval, same units.
        scores: Score by seed; NaN where the candidate diverged.
        gap_to_leader: How much worse than the leader it is on the seeds that both have, in units of the metric,
            positive for a worse candidate whatever the metric's direction; 0 for the leader.
        p_value: Of the paired test against the leader; None for the leader itself.
        diverged: Number of seeds on which it diverged.
        n_seeds: Number of seeds on which it was trained.
        dropped_at: Number of seeds at the look that dropped it; None if it stayed to the end.
        gap_low: Lower end of the gap's interval that decides, over all looks: at level 1 - alpha; for the
            members of a tie at 1 - 2 alpha, which lies within the margin if the two are equivalent.
        gap_high: Its upper end.
        p_adjusted: `p_value` after Holm's correction over all pairs of the race.
        failure_bound: Upper bound of the rate at which it diverges, with one-sided confidence of 95 %.
        also_named: Other names of the same arm: schemes of the search that draw the same weights on this model.
        speed: How soon it reaches the baseline's final score; None for the baseline itself, and where a run
            diverged or was evaluated only once.
    """

    name: str
    scheme: str
    plan: Mapping[str, Any]
    lr: float | None
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
    gap_low: float = math.nan
    gap_high: float = math.nan
    p_adjusted: float | None = None
    failure_bound: float = math.nan
    also_named: tuple[str, ...] = ()
    speed: Speed | None = None


@dataclass(frozen=True)
class BaselineAnswer:
    """Whether the baseline is beaten, by how much and by which candidates.

    Attributes:
        status: `beaten`; `kept` if no candidate is better by more than the margin; else `open`.
        beaten_by: The candidates that beat it, the largest lead first.
        gaps: Every other candidate of the race against it, the largest lead first. The intervals hold over all
            looks and for all candidates together, at level 1 - alpha.
    """

    status: BaselineStatus
    beaten_by: tuple[str, ...]
    gaps: tuple[BaselineGap, ...]


@dataclass(frozen=True)
class HeldOutScore:
    """A candidate's score on the test set.

    Attributes:
        name: The candidate.
        test_accuracy: Mean of its score over its seeds; NaN where no run reached the end. The score is what
            `metric` names, an accuracy in [0, 1] unless the user's own module has another.
        by_seed: The score by seed.
        gap: Its mean lead over the baseline, on the seeds that both have, positive if it is better; NaN for
            the baseline itself.
        gap_low: Lower end of the lead's interval, Student's for paired differences, at level 1 - alpha; NaN for
            fewer than two seeds.
        gap_high: Its upper end.
        metric: The name of the score.
    """

    name: str
    test_accuracy: float
    by_seed: Mapping[int, float] = field(default_factory=dict)
    gap: float = math.nan
    gap_low: float = math.nan
    gap_high: float = math.nan
    metric: str = "test_accuracy"


@dataclass(frozen=True)
class ImageCounts:
    """The number of examples that each seed trains on and validates on, and the size of the test set."""

    train: int
    validation: int
    test: int


@dataclass(frozen=True)
class SearchRow:
    """One candidate of the search, whether or not it entered the race.

    Attributes:
        number: Its number in the study, from 0.
        name: Its readable, unique name.
        scheme: Its scheme family.
        status: How it ended.
        reason: Why it ended early; empty for `complete`.
        epoch: Where it was last scored; 0 if never.
        score: Its last score, the mean over the search's seeds; NaN if it has none.
        scores: Score by rung (epochs); NaN where it diverged on a seed.
        raced: Whether it entered the race.
        probe_loss: Training loss at the end of the probe (nats); NaN where there was none, or it diverged.
        sign: What the probe showed; empty where there was none.
        lr: Its learning rate; None if the task has none, and in verdicts of earlier versions.
        twin_of: The number of the candidate with the same weights and learning rate whose result it took; None
            for the distinct candidates, which were trained.
    """

    number: int
    name: str
    scheme: str
    status: CandidateStatus
    reason: str
    epoch: float
    score: float
    scores: Mapping[float, float]
    raced: bool
    probe_loss: float = math.nan
    sign: str = ""
    lr: float | None = None
    twin_of: int | None = None


@dataclass(frozen=True)
class SchemeRate:
    """The learning rate at which a scheme did best in the search.

    Attributes:
        scheme: The scheme family.
        lr: The learning rate.
        score: Its best score there at full budget, the mean over the search's seeds.
        scores: The same by learning rate, for those at which a candidate had the full budget.
        tried: All learning rates at which the search tried it, ascending.
    """

    scheme: str
    lr: float
    score: float
    scores: Mapping[float, float]
    tried: tuple[float, ...]


@dataclass(frozen=True)
class RateGap:
    """The leader against another scheme at one learning rate: the effect of initialization alone.

    From the seeds of the search, which also chose the rates: it is not part of what the race has shown.

    Attributes:
        scheme: The leader's scheme.
        other: The other scheme.
        own: The leader's lead with each at its own best rate, in units of the metric, positive if it is better.
        gaps: The same at one rate for both, by rate: at the best rate of either, where both had the full
            budget.
    """

    scheme: str
    other: str
    own: float
    gaps: Mapping[float, float]


@dataclass(frozen=True)
class Evidence:
    """What the verdict rests on, and what a later run of the study needs to know of it.

    Attributes:
        request: Hash of the request: the study, `n_trials` and the race.
        race_request: The same without `race.futility`: a race that continues after a futile end is one race.
        images: How many examples there were, images or others; None if unknown.
        alphas: Alpha of each race of this study so far, this one last.
        races: The same by race, see `StudySettings.race_key`.
        looks: What each look decided; the last one is the verdict.
        rank_agreement: Kendall's tau between the ranking at a rung and at full budget, by epoch; None where a
            ranking has no order.
        initial_loss: Training loss before any update, on each seed of the race, by candidate.
        final_val_loss: Mean validation loss at full budget, by candidate of the race; NaN if all runs diverged.
        search: The candidates of the search, by number.
        rates: The best learning rate of each scheme in the search, the best scheme first; empty if the space
            has a single one.
        engines: How candidates were trained (`loop`, `stacked`, `trainer`, ...), with the reason.
        rate_gaps: The leader of the race against other schemes at each other's best learning rates, where the
            search tried them; empty if their best rates are the same.
    """

    request: str = ""
    race_request: str = ""
    images: ImageCounts | None = None
    alphas: tuple[float, ...] = ()
    races: Mapping[str, float] = field(default_factory=dict)
    looks: tuple[Decision, ...] = ()
    rank_agreement: Mapping[float, float | None] = field(default_factory=dict)
    initial_loss: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    final_val_loss: Mapping[str, float] = field(default_factory=dict)
    search: tuple[SearchRow, ...] = ()
    rates: tuple[SchemeRate, ...] = ()
    engines: Mapping[str, str] = field(default_factory=dict)
    rate_gaps: tuple[RateGap, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """What a study found: winner, tie or undecided, with the evidence.

    Attributes:
        status: `winner`, `tie` (shown to be equivalent) or `undecided` (neither could be shown).
        winner: Name of the winner; None unless `status` is `winner`.
        baseline: Name of the framework's default among the candidates.
        architecture: The model's short name.
        dataset: The data set that was trained on.
        requested_dataset: The data set that was requested.
        metric: What the candidates were compared by.
        higher_is_better: The metric's direction.
        alpha: Chance of naming a false winner that the race allowed.
        margin: The practical margin as configured (percentage points for an accuracy).
        n_seeds: Number of seeds that the decision rests on.
        candidates: All candidates of the race, best first.
        tie_set: The leader and the candidates that it was not shown to beat; for a winner, itself alone.
        sentence: The verdict in one sentence that can be quoted.
        test: Scores on the test set: `winner` (or `leader`), `baseline`, and `recommended` if it is neither.
        evidence: What the verdict rests on.
        wall_seconds: Time from start to verdict, over all runs.
        cpu_seconds: Processor time of all workers.
        versions: Version by package.
        recommended: Name of the candidate to take: the winner; the baseline or the simplest candidate of a tie;
            if undecided, the baseline unless it is beaten. None in a file of an earlier version.
        against_baseline: Whether the baseline is beaten; None in a file of an earlier version.
        regret: How much the truly best candidate of the race may be better than `recommended`, in units of the
            metric, with confidence 1 - alpha over all looks. None if the scores bound nothing.

    Raises:
        ConfigError: The status is unknown, or status and winner contradict each other, or `recommended` is not
            a candidate.
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
    test: Mapping[str, HeldOutScore]
    evidence: Evidence
    wall_seconds: float
    cpu_seconds: float
    versions: Mapping[str, str]
    recommended: str | None = None
    against_baseline: BaselineAnswer | None = None
    regret: float | None = None

    def __post_init__(self) -> None:
        if self.status not in get_args(Status):
            raise ConfigError(
                f"verdict status must be one of {', '.join(get_args(Status))}, but got {self.status!r}"
            )
        if (self.winner is not None) != (self.status == "winner"):
            raise ConfigError(
                "a verdict names a winner exactly when its status is 'winner', but got status "
                f"{self.status!r} with winner {self.winner!r}"
            )
        names = {candidate.name for candidate in self.candidates}
        for field_name in ("winner", "recommended"):
            named = getattr(self, field_name)
            if named is not None and named not in names:
                raise ConfigError(
                    f"a verdict's {field_name} must be one of its candidates, but got {named!r}"
                )

    @property
    def to_take(self) -> Standing:
        """The recommended candidate; the leader in a file of an earlier version."""
        name = self.recommended or self.candidates[0].name
        return next(standing for standing in self.candidates if standing.name == name)

    def to_json(self) -> dict[str, Any]:
        """The verdict as plain JSON data; NaN and infinity become None, seeds and epochs become strings."""
        plain: dict[str, Any] = to_plain(self)
        return plain

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the verdict as JSON, whole or not at all.

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
        """Read a verdict that `save` wrote; fields that this version does not know are ignored.

        Raises:
            ConfigError: The file is missing, is not JSON, or lacks a field or has one of the wrong kind.
        """
        try:
            plain = json.loads(Path(path).read_text(encoding="utf-8"))
            return TypeAdapter(cls).validate_python(with_nan(cls, plain))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(map(str, first["loc"])) or "its content"
            found = "" if first["type"] == "missing" else f", but got {first['input']!r}"
            raise _unreadable(path, f"{place}: {first['msg']}{found}") from error
        except RecursionError as error:
            raise _unreadable(path, "it is nested too deeply") from error
        except (OSError, ValueError) as error:
            raise _unreadable(path, str(error)) from error


def _unreadable(path: str | os.PathLike[str], problem: str) -> ConfigError:
    cut = problem if len(problem) < 200 else f"{problem[:200]} ..."
    return ConfigError(
        f"cannot read the verdict file {os.fspath(path)!r} ({cut}): delete it, then run the same command "
        "again: the study is judged again from its kept trainings"
    )
