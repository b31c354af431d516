"""Jobs of a study: which candidates, on which block, from where to where in the budget."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from initsearch.digests import short_hash
from initsearch.errors import ConfigError
from initsearch.search.settings import StudySettings
from initsearch.tasks import Task
from initsearch.training.engine_choice import EngineChoice
from initsearch.training.job import Candidate, Curve, TestJob, TrainJob
from initsearch.training.trainer_settings import TrainerSettings

#: Each study seed owns so many block seeds, so that two studies of different seeds share no block.
SEEDS_PER_STUDY = 10_000
#: Race blocks start here: selection and confirmation never share a seed.
FIRST_RACE_BLOCK = 1_000


def search_seed(study_seed: int, index: int) -> int:
    """The seed of the search's block `index`."""
    _check("search.seeds", index, FIRST_RACE_BLOCK)
    return study_seed * SEEDS_PER_STUDY + index


def race_seed(study_seed: int, index: int) -> int:
    """The seed of the race's block `index`."""
    _check("race.max_seeds", index, SEEDS_PER_STUDY - FIRST_RACE_BLOCK)
    return study_seed * SEEDS_PER_STUDY + FIRST_RACE_BLOCK + index


def _check(argument: str, index: int, most: int) -> None:
    if index >= most:
        raise ConfigError(f"{argument} must be at most {most}, but got more")


def has_state(curve: Curve) -> bool:
    """Whether the weights are kept with which a curve can be gone on with."""
    return curve.state is not None and Path(curve.state).exists()


class JobMaker:
    """Makes a study's jobs, and knows where candidates leave their weights between two of them."""

    def __init__(self, settings: StudySettings, task: Task, states: Path) -> None:
        self._settings = settings
        self._task = task
        self._states = states
        #: How cohorts are trained, where a probe decides it.
        self.choice: EngineChoice | None = None

    @property
    def stacks(self) -> bool:
        """Whether cohorts are stacked, as far as model and optimizer allow it."""
        return self._trainer(exact=False).engine == "stacked"

    def make(
        self,
        candidates: Sequence[Candidate],
        seed: int,
        start: float,
        stop: float,
        *,
        evaluate: Sequence[float] = (),
        curves: Mapping[str, Curve] | None = None,
        keep: bool = True,
        exact: bool = False,
        screen: bool = False,
        measure_stop: bool = True,
    ) -> TrainJob:
        """The job that trains a cohort.

        Args:
            candidates: Who is trained together.
            seed: The block.
            start: Epochs that the candidates have behind them.
            stop: Epochs that they shall have behind them.
            evaluate: Points in between at which to validate.
            curves: The candidates' curves up to `start`, which name their states.
            keep: Whether the states are kept for a later job.
            exact: Whether to train in full precision, whatever the probe found fast.
            screen: Whether candidates that cannot learn are told before they are trained.
            measure_stop: Whether to validate at `stop`.
        """
        known = {c.name: curves[c.name] for c in candidates if curves and c.name in curves}
        states = {name: curve.state for name, curve in known.items() if curve.state is not None}
        whole = len(known) == len(candidates) and all(map(has_state, known.values()))
        # Two cohorts may train a candidate on the same block at once, and stacked they differ in last digits.
        cohort = short_hash([candidate.name for candidate in candidates])
        # A state that is gone (a run was stopped while it tidied up) costs time, not the result.
        measured = [p.epoch for curve in known.values() for p in curve.points]
        return TrainJob(
            task=self._task,
            trainer=self._trainer(exact),
            candidates=tuple(candidates),
            seed=seed,
            start_epoch=start if whole else 0.0,
            stop_epoch=stop,
            eval_epochs=(*evaluate, stop) if measure_stop else tuple(evaluate),
            states=states if whole else {},
            state_dir=str(self._states / cohort) if keep else None,
            screen=screen,
            losses_from=0.0 if whole else max(measured, default=0.0),
        )

    def make_test(self, candidate: Candidate, seed: int, epochs: float, curve: Curve) -> TestJob:
        """The job that scores a candidate of the race on the test set.

        Args:
            candidate: The candidate.
            seed: The block.
            epochs: How long the race trained it.
            curve: Its curve on that block, which names its checkpoint.
        """
        return TestJob(
            task=self._task,
            trainer=self._trainer(exact=True),
            candidates=(candidate,),
            seed=seed,
            states={} if curve.state is None else {candidate.name: curve.state},
            epochs=epochs,
        )

    def _trainer(self, exact: bool) -> TrainerSettings:
        trainer = self._settings.trainer
        return trainer if self.choice is None else self.choice.apply(trainer, exact=exact)
