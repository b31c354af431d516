"""Candidates by ask and tell: Optuna proposes, a stored study proposes the same again."""

import itertools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import FixedTrial, FrozenTrial, TrialState

from initsearch.digests import short_hash
from initsearch.plan import InitPlan
from initsearch.search.sampling import make_sampler, resolve_sampler
from initsearch.search.settings import StudySettings
from initsearch.search.tracker import CandidateInfo
from initsearch.training.job import Candidate

BASELINE = "baseline"
#: User attributes of a trial: its place in a grid, the end of its bracket (the number of the first trial
#: that is not in it), and the last rung (epochs) from which it went on.
GRID, BRACKET_END, PASSED = "grid", "bracket_end", "passed"
#: Learning rates that a baseline is tried with where the space holds a range of them.
BASELINE_RATES = 3


@dataclass
class Proposal:
    """One trial of the study.

    Attributes:
        info: The candidate, as records show it.
        trial: Optuna's trial, to be told; `None` for one that a former run has told already.
        stored: What Optuna's storage held of it when this run began.
        twin_of: The number of an earlier trial with the same plan and learning rate, whose result it takes.
    """

    info: CandidateInfo
    trial: optuna.Trial | None
    stored: FrozenTrial | None
    twin_of: int | None = None

    @property
    def number(self) -> int:
        """Its number in the study, from 0."""
        return self.info.number

    @property
    def name(self) -> str:
        """The candidate's unique name."""
        return self.info.name

    @property
    def candidate(self) -> Candidate:
        """What is trained."""
        return Candidate(name=self.info.name, plan=self.info.plan, lr=self.info.lr)

    def passed(self, epoch: float) -> bool:
        """Whether a former run let it go on from a rung."""
        return self.stored is not None and self.stored.user_attrs.get(PASSED, 0.0) >= epoch

    def pruned_at(self, step: int) -> bool:
        """Whether a former run pruned it at a rung, given by the rung's step."""
        stored = self.stored
        pruned = stored is not None and stored.user_attrs.get("status") == "pruned"
        return pruned and stored is not None and stored.last_step == step

    def note_passed(self, epoch: float) -> None:
        """Note in Optuna's storage that it goes on from a rung."""
        if self.trial is not None and not self.passed(epoch):
            self.trial.set_user_attr(PASSED, epoch)


class Proposals:
    """Asks for candidates in order; baselines first, then what the sampler proposes.

    Trial `i` is proposed by a sampler that is seeded by `i`: what is asked depends on the trials told before
    and on nothing else, so that an interrupted study goes on as if it had not been interrupted.
    """

    def __init__(self, settings: StudySettings, study: optuna.Study) -> None:
        self._settings = settings
        self._study = study
        self._stored = study.get_trials(deepcopy=False)
        self._seen: dict[str, int] = {}
        self._names: dict[str, int] = {}
        baselines = _baseline_trials(settings)
        self.sampler = resolve_sampler(
            settings.search.sampler, settings.space, settings.n_trials, len(baselines)
        )
        self.total = settings.n_trials
        for attributes, params in baselines[len(self._stored) : self.total]:
            study.enqueue_trial(params, user_attrs=attributes)
        # Trials that the storage has by now, some of them waiting; none waits behind them.
        self._known = max(len(self._stored), min(len(baselines), self.total))
        if self.sampler == "grid":
            self._known += self._enqueue_grid(self.total - self._known)
            self.total = min(self.total, self._known)
        self.asked = 0

    def _enqueue_grid(self, most: int) -> int:
        """Enqueue what the storage lacks of the grid, so many at most; returns how many it was.

        A study that was begun by another sampler, with fewer trials, may hold some of it.
        """
        places = {trial.user_attrs.get(GRID) for trial in self._stored}
        tried = [trial.params for trial in self._stored if trial.state is not TrialState.WAITING]
        missing = (
            (place, params)
            for place, params in enumerate(self._settings.space.grid())
            if place not in places and params not in tried
        )
        count = 0
        for place, params in itertools.islice(missing, max(0, most)):
            self._study.enqueue_trial(params, user_attrs={GRID: place})
            count += 1
        return count

    def ask_bracket(self) -> list[Proposal]:
        """The next candidates, which are trained and compared together.

        A bracket that a former run began keeps its size: its members were compared with each other alone,
        and that stands, however many trials have been granted since.
        """
        first = self._stored[self.asked] if self.asked < len(self._stored) else None
        end = self.asked + self._settings.search.cohort_size
        if first is not None:
            end = first.user_attrs.get(BRACKET_END, end)
        end = min(end, self.total)
        return [self._ask(end) for _ in range(self.asked, end)]

    def _ask(self, bracket_end: int) -> Proposal:
        number = self.asked
        self.asked += 1
        stored = self._stored[number] if number < len(self._stored) else None
        if stored is not None and stored.state.is_finished():
            return self._proposal(stored, None, stored)
        seed = int(short_hash([self._settings.seed, number]), 16)
        self._study.sampler = make_sampler(self.sampler, seed, self._is_new)
        if stored is not None and stored.state is TrialState.RUNNING:
            trial = optuna.Trial(self._study, stored._trial_id)
        else:
            trial = self._study.ask() if number < self._known else self._new_trial()
        if BRACKET_END not in trial.user_attrs:
            trial.set_user_attr(BRACKET_END, bracket_end)
        return self._proposal(trial, trial, stored)

    def _new_trial(self) -> optuna.Trial:
        """`Study.ask` without its look through all trials for one that waits: none does by now.

        That look takes longer with every trial; after some thousand it is most of what an ask costs.
        """
        study = self._study
        study._thread_local.cached_all_trials = None
        return optuna.Trial(study, study._storage.create_new_trial(study._study_id))

    def _proposal(
        self, source: optuna.trial.BaseTrial, trial: optuna.Trial | None, stored: FrozenTrial | None
    ) -> Proposal:
        space, default_rate = self._settings.space, self._settings.task.optimizer.lr
        name = source.user_attrs.get(BASELINE)
        if name is None:
            suggestion = space.suggest(source)
            plan, scheme, label, lr = (
                suggestion.plan,
                suggestion.scheme,
                suggestion.label,
                suggestion.lr,
            )
        else:
            plan, scheme, label = InitPlan.from_spec(self._settings.baselines[name]), name, name
            lr = None if space.lr is None else float(space.lr.suggest(source, "lr"))
        if lr is not None:
            label += f" lr={lr:.3g}"
        rate = default_rate if lr is None else lr
        spec = plan.spec()
        twin_of = self._seen.setdefault(_key(plan, lr), source.number)
        info = CandidateInfo(
            number=source.number,
            name=self._unique(label),
            scheme=scheme,
            plan=spec,
            lr=rate,
            params=dict(source.params),
            baseline=name is not None,
        )
        return Proposal(info, trial, stored, None if twin_of == source.number else twin_of)

    def _is_new(self, params: Mapping[str, Any]) -> bool:
        """Whether parameters make a candidate that was not proposed before, or leave open which it is."""
        try:
            suggestion = self._settings.space.suggest(FixedTrial(dict(params)))
        except ValueError:  # of a parameter that is not among them
            return True
        return _key(suggestion.plan, suggestion.lr) not in self._seen

    def _unique(self, label: str) -> str:
        """Labels are rounded for reading, so that two candidates can share one: number the later ones."""
        count = self._names[label] = self._names.get(label, 0) + 1
        return label if count == 1 else f"{label} #{count}"


def _key(plan: InitPlan, lr: float | None) -> str:
    """What is the same for two candidates that are trained alike; in a study without rates `lr` is None."""
    return json.dumps([plan.spec(), lr], sort_keys=True)


def _baseline_trials(settings: StudySettings) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """User attributes and fixed parameters of the trials that stand for the baselines.

    Where the space has learning rates, each baseline is tried with several, as every scheme is: the default
    first, since it must stand even if few trials are afforded.
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
