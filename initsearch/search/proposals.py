"""Candidates in the order in which a study asks for them: baselines first, then what the sampler proposes."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.trial import FixedTrial, FrozenTrial, TrialState

from initsearch.digests import short_hash
from initsearch.layers import Slot
from initsearch.plan import InitPlan
from initsearch.search.candidates import TrainedCandidate
from initsearch.search.settings import StudySettings
from initsearch.search.trials import TrialStore, make_sampler, resolve_sampler
from initsearch.space import Suggestion
from initsearch.training.job import Candidate

#: User attributes of a trial: the name of the baseline that it stands for, its place in a grid, and the end of
#: its bracket (the number of the first trial that is not in it).
BASELINE, GRID, BRACKET_END = "baseline", "grid", "bracket_end"
#: Learning rates that a baseline is tried with where the space holds a range of them.
BASELINE_RATES = 3
#: Of an arm's digest: among ten thousand arms, two agree by chance in one of 10^11 studies.
ARM_BYTES = 8

#: The same for two candidates that are trained alike: the arm, and the rate (None in a study without rates).
_Key = tuple[str, float | None]


class Proposals:
    """Asks for candidates in order, and proposes the same ones again when a study is resumed.

    Trial `i` is proposed by a sampler seeded by `i`. A proposal depends on the results reported before it and
    on nothing else, so an interrupted study continues as if it had not been interrupted.

    Args:
        settings: What is searched.
        store: The study's trials; baselines and a grid are enqueued there.
        slots: The parameters of the model: on them, plans that draw the same weights are one arm. Empty if they
            are not known.

    Attributes:
        total: Number of candidates in total.
        asked: Number of candidates asked for so far.
    """

    def __init__(self, settings: StudySettings, store: TrialStore, slots: Sequence[Slot]) -> None:
        self._settings = settings
        self._store = store
        self._slots = slots
        self._seen: dict[_Key, int] = {}
        self._named: dict[str, _Key] = {}
        self._repeats: dict[str, int] = {}
        self._baselines = {
            name: InitPlan.from_spec(plan) for name, plan in settings.baselines.items()
        }
        # The first of equal baselines gives its name to all.
        self._baseline_arms = {
            self._arm(plan): name for name, plan in reversed(self._baselines.items())
        }
        baselines = _baseline_trials(settings)
        self._sampler = resolve_sampler(
            settings.search.sampler, settings.space, settings.n_trials, len(baselines)
        )
        self.total = settings.n_trials
        for attributes, params in baselines[store.count : self.total]:
            store.enqueue(params, attributes)
        if self._sampler == "grid":
            self._enqueue_grid(self.total - store.count)
            self.total = min(self.total, store.count)
        self.asked = 0

    def _enqueue_grid(self, most: int) -> None:
        """Enqueue the points of the grid that the store lacks, at most `most` of them.

        A study that began with another sampler and fewer trials may hold some of them.
        """
        stored = self._store.stored
        places = {trial.user_attrs.get(GRID) for trial in stored}
        tried = [trial.params for trial in stored if trial.state is not TrialState.WAITING]
        missing = (
            (place, params)
            for place, params in enumerate(self._settings.space.grid())
            if place not in places and params not in tried
        )
        for place, params in itertools.islice(missing, max(0, most)):
            self._store.enqueue(params, {GRID: place})

    def ask_bracket(self) -> list[TrainedCandidate]:
        """The next candidates, which are trained and compared together.

        A bracket that an earlier run began keeps its size: its members were compared with each other alone, and
        that stands even if `n_trials` has been raised since.
        """
        stored = self._store.stored
        first = stored[self.asked] if self.asked < len(stored) else None
        end = self.asked + self._settings.search.cohort_size
        if first is not None:
            end = first.user_attrs.get(BRACKET_END, end)
        end = min(end, self.total)
        return [self._ask(end) for _ in range(self.asked, end)]

    def _ask(self, bracket_end: int) -> TrainedCandidate:
        number = self.asked
        self.asked += 1
        stored = self._store.stored[number] if number < len(self._store.stored) else None
        if stored is not None and stored.state.is_finished():
            return TrainedCandidate(self._candidate(stored), None, stored)
        seed = int(short_hash([self._settings.seed, number]), 16)
        trial = self._store.open(number, make_sampler(self._sampler, seed, self._is_new))
        if BRACKET_END not in trial.user_attrs:
            trial.set_user_attr(BRACKET_END, bracket_end)
        return TrainedCandidate(self._candidate(trial), trial, stored)

    def _candidate(self, trial: optuna.Trial | FrozenTrial) -> Candidate:
        """The candidate that a trial stands for; parameters that the trial lacks are sampled."""
        space, default_rate = self._settings.space, self._settings.task.lr
        baseline = trial.user_attrs.get(BASELINE)
        if baseline is None:
            found = space.suggest(trial)
        else:
            lr = None if space.lr is None else float(space.lr.suggest(trial, "lr"))
            plan = self._baselines[baseline]
            found = Suggestion(plan, baseline, baseline, baseline, baseline, lr)
        arm = self._arm(found.plan)
        key = (arm, found.lr)
        first = self._seen.setdefault(key, trial.number)
        label, name = self._name(found, key)
        return Candidate(
            name=name,
            plan=found.plan.spec(),
            lr=default_rate if found.lr is None else found.lr,
            number=trial.number,
            scheme=self._scheme(found, arm),
            params=dict(trial.params),
            baseline=baseline is not None,
            label=label,
            arm=arm,
            twin_of=None if first == trial.number else first,
        )

    def _arm(self, plan: InitPlan) -> str:
        """The same for plans that draw the same weights on the model; for equal plans, if it is not known."""
        form = plan.canonical(self._slots) if self._slots else plan.spec()
        return short_hash(form, ARM_BYTES)

    def _scheme(self, found: Suggestion, arm: str) -> str:
        """A candidate's scheme. It has a baseline's name exactly if it starts from that baseline's weights."""
        if arm in self._baseline_arms:
            return self._baseline_arms[arm]
        return found.full_scheme if found.scheme in self._baselines else found.scheme

    def _name(self, found: Suggestion, key: "_Key") -> tuple[str, str]:
        """A label without the rate, and a unique name: the shortest that no other candidate has.

        A candidate with another's label says what differs: the rules of all groups, then more digits. One that
        repeats another gets a number.
        """
        rounded, exact = (
            ("", "") if found.lr is None else (f" lr={found.lr:.3g}", f" lr={found.lr!r}")
        )
        labels = (found.label, found.full_label, found.full_label)
        for label, rate in zip(labels, (rounded, rounded, exact), strict=True):
            name = label + rate
            if self._named.setdefault(name, key) == key:
                break
        count = self._repeats[name] = self._repeats.get(name, 0) + 1
        return label, name if count == 1 else f"{name} #{count}"

    def _is_new(self, params: Mapping[str, Any]) -> bool:
        """Whether parameters make a candidate that was not proposed before; True if they leave it open."""
        try:
            suggestion = self._settings.space.suggest(FixedTrial(dict(params)))
        except ValueError:  # of a parameter that is not among them
            return True
        return (self._arm(suggestion.plan), suggestion.lr) not in self._seen


def _baseline_trials(settings: StudySettings) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """User attributes and fixed parameters of the trials that stand for the baselines.

    Where the space has learning rates, each baseline is tried with several, as every scheme is. All baselines
    come with the first rate before any comes with the second, so a small `n_trials` includes each of them.
    """
    domain = settings.space.lr
    if domain is None:
        rates: list[float | None] = [None]
    elif domain.choices:
        rates = [float(str(rate)) for rate in domain.choices]
    else:
        ratio = (domain.high / domain.low) ** (1 / (BASELINE_RATES - 1))
        rates = [min(domain.low * ratio**index, domain.high) for index in range(BASELINE_RATES)]
    fixed = domain is None or domain.fixed
    return [
        ({BASELINE: name}, {} if fixed or rate is None or math.isnan(rate) else {"lr": rate})
        for rate in rates
        for name in settings.baselines
    ]
