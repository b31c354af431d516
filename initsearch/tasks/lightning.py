"""`LightningTask`: a user's own LightningModule, trained by the user's own Trainer."""

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from initsearch.callback import CallbackBase, InitCallback
from initsearch.errors import ModelError, unknown_name
from initsearch.layers import Slot
from initsearch.plan import InitPlan
from initsearch.tasks.base import Entry, Measured, TaskInfo, Trained
from initsearch.tasks.lightning_engines import ChosenEngine, Engine, choose_engine
from initsearch.tasks.lightning_fit import UsersFit
from initsearch.tasks.lightning_probe import Probed, check_rates, name_in_test, probe
from initsearch.tasks.stacked_steps import NotStackedError
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
        rates: Learning rates that candidates may be trained with; empty: the module has its own.
        test_metric: The name that `test_step` logs; None: there is no test set.
        mode: `max` if a higher score is better, `min` if a lower one is.
    """

    users: UsersFit
    metric: str
    found: Probed
    version: str = ""
    engine: ChosenEngine = ALONE
    rates: tuple[float, ...] = ()
    test_metric: str | None = None
    mode: str = "max"

    @classmethod
    def probed(
        cls,
        users: UsersFit,
        metric: str,
        version: str = "",
        engine: Engine = "trainer",
        *,
        rates: Sequence[float] = (),
        test_metric: str | None = None,
        mode: str = "max",
    ) -> "LightningTask":
        """The task, after short fits that check it and choose the engine.

        Args:
            users: As the attribute, and so are most others.
            metric: What candidates are compared by.
            version: Part of the study's identity.
            engine: How candidates are trained, or `auto`.
            rates: Learning rates, of which two are tried.
            test_metric: The name that `test_step` logs; None: that of `metric`, with `test` for `val`.
            mode: The direction of the metric, and of the test's.

        Raises:
            ConfigError, DataError, ModelError: As `probe` raises them.
        """
        found = probe(users, metric)
        if rates:
            check_rates(users, rates)
        return cls(
            users,
            metric,
            found,
            version,
            choose_engine(users, engine, rates),
            tuple(rates),
            name_in_test(users, metric, test_metric),
            mode,
        )

    @property
    def lr(self) -> float | None:
        """The rate of candidates without one, where the space has rates; None: the module's own."""
        return self.rates[0] if self.rates else None

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
            test_score=self.test_metric,
            test_higher_is_better=self.mode == "max",
            messages=(f"engine {self.engine.name}: {self.engine.reason}", *self.found.notes),
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
        return self._alone(Entry(plan), seed, budgets)

    def train_together(
        self, entries: Sequence[Entry], seed: int, budgets: Sequence[float]
    ) -> Trained:
        """The fits of several candidates, in lockstep where the engine is `loop` or `stacked`.

        Raises:
            ModelError: A fit ended without the metric.
            Exception: Whatever the user's code raises.
        """
        if len(entries) == 1 or self.engine.name == "trainer":
            measured = [self._alone(entry, seed, budgets) for entry in entries]
            return Trained(measured, "trainer", self.engine.reason)
        if self.engine.name == "stacked":
            try:
                return Trained(
                    self._together(entries, seed, budgets, stacked=True),
                    "stacked",
                    self.engine.reason,
                )
            except NotStackedError as error:
                reason = f"stacked was asked for, but after some steps {error}"
                return Trained(self._together(entries, seed, budgets), "loop", reason)
        return Trained(self._together(entries, seed, budgets), "loop", self.engine.reason)

    def _together(
        self,
        entries: Sequence[Entry],
        seed: int,
        budgets: Sequence[float],
        *,
        stacked: bool = False,
    ) -> list[list[Measured]]:
        recorders = [self._recorder(budgets) for _ in entries]
        callbacks = [
            self._callbacks(entry.plan, seed, recorder)
            for entry, recorder in zip(entries, recorders, strict=True)
        ]
        with _once_warned():
            fits = self.users.run_together(
                seed,
                callbacks,
                rates=[entry.lr for entry in entries],
                then=lambda number, trainer: _keep(entries[number], trainer),
                stacked=stacked,
            )
        return [
            # One that left the lockstep is trained alone.
            self._alone(entry, seed, budgets) if one is None else self._measured(recorder, budgets)
            for entry, recorder, one in zip(entries, recorders, fits, strict=True)
        ]

    def test(self, entry: Entry, seed: int, budget: float) -> Mapping[str, float]:
        """What `Trainer.test` logs for a trained candidate.

        Raises:
            ConfigError: `test_step` logs no such metric.
            Exception: Whatever the user's code raises.
        """
        with TemporaryDirectory() as folder, _once_warned():
            if entry.kept is None or not Path(entry.kept).exists():
                entry = replace(entry, kept=str(Path(folder) / "again.ckpt"))
                self._alone(entry, seed, [budget])
            callbacks = self._callbacks(entry.plan, seed)
            logged = self.users.test(seed, callbacks, str(entry.kept))
        name = self.test_metric or ""
        if name not in logged:
            raise unknown_name("test_metric, which must be one that test_step logs,", name, logged)
        return {name: float(logged[name])}

    def _alone(self, entry: Entry, seed: int, budgets: Sequence[float]) -> list[Measured]:
        recorder = self._recorder(budgets)
        with _once_warned():
            self.users.run(
                seed,
                self._callbacks(entry.plan, seed, recorder),
                lr=entry.lr,
                then=lambda trainer: _keep(entry, trainer),
            )
        return self._measured(recorder, budgets)

    def _recorder(self, budgets: Sequence[float]) -> "_Recorder":
        last = step_at(budgets[-1], 1)
        return _Recorder(self.metric, None if last >= self.epochs else last)

    def _callbacks(self, plan: InitPlan, seed: int, *others: CallbackBase) -> list[CallbackBase]:
        # A plan without rules keeps what the module was built with, also where nothing could be traced.
        # It fills also what the user's own code has loaded: that is what is compared.
        first = [InitCallback(plan, seed, force=True)] if plan != InitPlan() else []
        return [*first, *others]

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


def _keep(entry: Entry, trainer: "Trainer") -> None:
    """Keep what a test needs, as Lightning keeps a checkpoint."""
    if entry.kept is not None:
        trainer.save_checkpoint(entry.kept)


@contextmanager
def _once_warned() -> Iterator[None]:
    """Without warnings: the short fit has shown them once."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


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
