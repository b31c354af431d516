"""Candidates by ask and tell: Optuna proposes, a stored study proposes the same again."""

import math
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from initsearch.plan import InitPlan
from initsearch.search.sampling import make_sampler, resolve_sampler
from initsearch.search.settings import StudySettings, short_hash
from initsearch.search.tracker import CandidateInfo
from initsearch.training.job import Candidate

BASELINE = "baseline"
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
        fixed = _baseline_trials(settings)
        self.sampler = resolve_sampler(
            settings.search.sampler, settings.space, settings.n_trials, len(fixed)
        )
        if self.sampler == "grid":
            fixed += [({"grid": True}, params) for params in settings.space.grid()]
            self.total = min(settings.n_trials, len(fixed))
        else:
            self.total = settings.n_trials
        for attributes, params in fixed[len(self._stored) : self.total]:
            study.enqueue_trial(params, user_attrs=attributes)
        self.asked = 0

    def ask(self) -> Proposal:
        """The next candidate."""
        number = self.asked
        self.asked += 1
        stored = self._stored[number] if number < len(self._stored) else None
        if stored is not None and stored.state.is_finished():
            return self._proposal(stored, None, stored)
        if stored is not None and stored.state is TrialState.RUNNING:
            trial = optuna.Trial(self._study, stored._trial_id)
        else:
            seed = int(short_hash([self._settings.seed, number]), 16)
            self._study.sampler = make_sampler(self.sampler, seed)
            trial = self._study.ask()
        return self._proposal(trial, trial, stored)

    def _proposal(
        self, source: optuna.trial.BaseTrial, trial: optuna.Trial | None, stored: FrozenTrial | None
    ) -> Proposal:
        space, default_rate = self._settings.space, float(self._settings.optimizer["lr"])
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
        twin_of = self._seen.setdefault(short_hash([spec, rate]), source.number)
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

    def _unique(self, label: str) -> str:
        """Labels are rounded for reading, so that two candidates can share one: number the later ones."""
        count = self._names[label] = self._names.get(label, 0) + 1
        return label if count == 1 else f"{label} #{count}"


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
