"""`LightningTask`: a user's own LightningModule, trained by the user's own Trainer."""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from initsearch.callback import CallbackBase, InitCallback
from initsearch.errors import ModelError
from initsearch.layers import Slot
from initsearch.plan import InitPlan
from initsearch.tasks.base import Measured, TaskInfo, Trained
from initsearch.tasks.lightning_engines import ChosenEngine, Engine, choose_engine
from initsearch.tasks.lightning_fit import UsersFit
from initsearch.tasks.lightning_probe import Probed, probe
from initsearch.tasks.streams import step_at

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer


#: No probe: each candidate has a fit of its own.
ALONE = ChosenEngine("trainer", "asked for")


@dataclass(frozen=True)
class LightningTask:
    """A LightningModule with its data and its Trainer, as they are; a `TogetherTask`.

    Each candidate of each seed has a `Trainer.fit` of its own, on copies, with `InitCallback(plan, seed)`.
    Those of one seed may take turns (see `lightning_engines`). The scores of each are those of

        seed_everything(seed, workers=True)
        Trainer(..., callbacks=[InitCallback(plan, seed), ...]).fit(model, ...)

    The budget is in epochs. A candidate that is dropped early was trained by a fit that stops at the end of an
    epoch; one that continues is trained again from the start.

    Attributes:
        users: What the user passes to `fit`.
        metric: What candidates are compared by: a name that the module logs.
        found: What a short fit showed.
        version: Part of the study's identity: another version is another study.
        engine: How several candidates of a seed are trained. It does not change their scores.
    """

    users: UsersFit
    metric: str
    found: Probed
    version: str = ""
    engine: ChosenEngine = ALONE

    @classmethod
    def probed(
        cls, users: UsersFit, metric: str, version: str = "", engine: Engine = "trainer"
    ) -> "LightningTask":
        """The task, after short fits that check it and choose the engine.

        Raises:
            ConfigError, DataError, ModelError: As `probe` raises them.
        """
        found = probe(users, metric)
        return cls(users, metric, found, version, choose_engine(users, engine))

    @property
    def lr(self) -> None:
        """The module's own optimizers have their own rates."""
        return None

    @property
    def epochs(self) -> int:
        """The full budget: the epochs of the user's whole fit."""
        return self.found.epochs

    def key(self) -> dict[str, Any]:
        """The names of what is trained, and the version; the text of the user's code is not seen."""
        found = self.found
        return {
            "lightning": [found.name, found.dataset, found.epochs, self.metric],
            "parameters": [[slot.name, list(slot.shape)] for slot in found.slots],
            "version": self.version,
        }

    def info(self) -> TaskInfo:
        """What the short fit showed of the data."""
        return TaskInfo(
            dataset=self.found.dataset,
            requested=self.found.dataset,
            contents=self.version,
            sizes={},
            guess={},
            steps_per_epoch=1,
            test_score=None,
            messages=(f"engine {self.engine.name}: {self.engine.reason}",),
        )

    def pinned(self) -> "LightningTask":
        """The task itself: its data are the user's."""
        return self

    def slots(self) -> list[Slot]:
        """The parameters of the module."""
        return list(self.found.slots)

    def train(self, plan: InitPlan, seed: int, budgets: Sequence[float]) -> list[Measured]:
        """One fit, up to the last budget or to the user's own end.

        Raises:
            ModelError: The fit ended without the metric.
            Exception: Whatever the user's code raises.
        """
        recorder = self._recorder(budgets)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the short fit has shown them once
            self.users.run(seed, self._callbacks(plan, seed, recorder))
        return self._measured(recorder, budgets)

    def train_together(
        self, plans: Sequence[InitPlan], seed: int, budgets: Sequence[float]
    ) -> Trained:
        """The fits of several candidates, in lockstep where the engine is `loop`.

        Raises:
            ModelError: A fit ended without the metric.
            Exception: Whatever the user's code raises.
        """
        if len(plans) == 1 or self.engine.name == "trainer":
            measured = [self.train(plan, seed, budgets) for plan in plans]
            return Trained(measured, "trainer", self.engine.reason)
        recorders = [self._recorder(budgets) for _ in plans]
        callbacks = [
            self._callbacks(plan, seed, recorder)
            for plan, recorder in zip(plans, recorders, strict=True)
        ]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fits = self.users.run_together(seed, callbacks)
        measured = [
            # One that left the lockstep is trained alone.
            self.train(plan, seed, budgets) if one is None else self._measured(recorder, budgets)
            for plan, recorder, one in zip(plans, recorders, fits, strict=True)
        ]
        return Trained(measured, "loop", self.engine.reason)

    def _recorder(self, budgets: Sequence[float]) -> "_Recorder":
        last = step_at(budgets[-1], 1)
        return _Recorder(self.metric, None if last >= self.epochs else last)

    def _callbacks(self, plan: InitPlan, seed: int, recorder: "_Recorder") -> list[CallbackBase]:
        # A plan without rules keeps what the module was built with, also where nothing could be traced.
        # It fills also what the user's own code has loaded: that is what is compared.
        first = [InitCallback(plan, seed, force=True)] if plan != InitPlan() else []
        return [*first, recorder]

    def _measured(self, recorder: "_Recorder", budgets: Sequence[float]) -> list[Measured]:
        """What a fit has measured."""
        scores = recorder.scores
        if not scores:
            raise ModelError(
                f"the fit must log {self.metric!r} in a validation, but ended without: log it in every "
                "validation, and validate at least once"
            )
        if not math.isfinite(recorder.final):
            return [Measured(budgets[-1], {self.metric: math.nan})]
        measured = []
        for budget in budgets[:-1]:
            later = [epoch for epoch in scores if epoch >= step_at(budget, 1)]
            if later:
                measured.append(Measured(budget, {self.metric: scores[min(later)]}))
        return [*measured, Measured(budgets[-1], {self.metric: recorder.final})]


class _Recorder(CallbackBase):
    """Records the metric after each epoch that had a validation, and ends the fit early.

    A fit ends early at the epoch given, and where the metric or a weight is not finite.

    Args:
        metric: The name.
        stop: The number of epochs after which to end, at the first validation from there on; None: the fit ends
            by itself.

    Attributes:
        scores: The metric by number of epochs done.
        final: The metric at the end of the fit; NaN if it, or a weight, was not finite.
    """

    def __init__(self, metric: str, stop: int | None) -> None:
        super().__init__()
        self.scores: dict[int, float] = {}
        self.final = math.nan
        self._metric = metric
        self._stop = stop
        self._validated = False

    def on_validation_end(self, trainer: "Trainer", pl_module: "LightningModule") -> None:
        """Note that there was a validation."""
        self._validated |= not trainer.sanity_checking

    def on_train_epoch_end(self, trainer: "Trainer", pl_module: "LightningModule") -> None:
        """Record the metric as it stands now."""
        done = trainer.current_epoch + 1
        if not self._validated:
            return
        self._validated = False
        score = self._read(trainer.callback_metrics, pl_module)
        if score is None:
            return
        self.scores[done] = score
        if not math.isfinite(score) or (self._stop is not None and done >= self._stop):
            # The copy's own minimum, which would keep it from ending.
            trainer.fit_loop.min_epochs = 0
            trainer.fit_loop.epoch_loop.min_steps = None
            trainer.should_stop = True

    def on_fit_end(self, trainer: "Trainer", pl_module: "LightningModule") -> None:
        """Record the metric as the user would read it after the fit."""
        score = self._read(trainer.callback_metrics, pl_module)
        if score is not None:
            self.final = score
            self.scores.setdefault(trainer.current_epoch, score)

    def _read(self, metrics: Mapping[str, Any], module: "LightningModule") -> float | None:
        """The metric; NaN if a weight is not finite; None if it was not logged."""
        if self._metric not in metrics:
            return None
        finite = all(bool(parameter.isfinite().all()) for parameter in module.parameters())
        return float(metrics[self._metric]) if finite else math.nan
