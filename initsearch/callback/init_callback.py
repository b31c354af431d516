"""`InitCallback`: applies an initialization plan in any Lightning project, with one line."""

import functools
import logging
import os
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from torch import nn

from initsearch.callback import batches
from initsearch.callback.bases import CallbackBase, overrides
from initsearch.callback.history import used_before
from initsearch.callback.other_callbacks import copies_in, follow, freeze_as_they_will
from initsearch.callback.targets import training_targets
from initsearch.checks import check_int
from initsearch.errors import ConfigError, ModelError, NoEffectWarning
from initsearch.plan import InitPlan, InitReport

if TYPE_CHECKING:
    from lightning.pytorch import Callback, LightningModule, Trainer
    from lightning.pytorch.loggers import Logger

logger = logging.getLogger(__name__)

_FORCE = "InitCallback(..., force=True) initializes them again"


class InitCallback(CallbackBase):
    """Initializes a LightningModule's parameters by a plan, before training.

    It runs in `setup(stage="fit")`: before a checkpoint is restored (`ckpt_path` overrides the plan) and before
    DDP wraps the model. All ranks draw the same values, since each parameter's generator is a function of the
    seed and its name. A model that is built in `configure_model`, or in the module's own `setup`, is
    initialized right after that. A module is initialized once: a second `fit` continues with the weights that
    it has.

    Weights that were trained or loaded before (an earlier fit, `load_from_checkpoint`, a pretrained backbone)
    are left alone, with a `NoEffectWarning`, unless `force` is set; `initsearch.callback.history` has the signs
    by which they are recognized. So are layers that another callback freezes (`BackboneFinetuning`). A copy of
    the module that another callback has made (`WeightAveraging`) follows.

    A plan that needs a batch (`lsuv`, `gradinit`) gets the first batch of the training data, drawn with `seed`
    and the same on every rank; this does not change the order of the training data. The loss is that of
    `training_step`. One that needs targets (`class_prior`) gets those that the data set keeps (`targets`,
    `labels`, a `TensorDataset`, a `Subset` of these), or those of the first 10,000 examples: the second entry
    of a batch, or its `labels`, `target`, `y`.

    Args:
        plan: The name of an initializer, a mapping, a path to a plan file, or an `InitPlan`.
        seed: The seed of all draws; default 0.
        include_frozen: Whether parameters with `requires_grad=False` are filled too; default no.
        batch: An input of the module's `forward` (a tensor, a pair of inputs and labels, ...). It shows what
            follows each layer, and is what layers are measured on. Default: from the training data if the
            plan needs it or `forward` does not run all layers (`training_step` then runs once, without
            logging or stepping), else an input guessed from the first layer.
        allow_code: For a plan file: the Python code that it may name by a dotted path; see `InitPlan.load`.
        force: Whether weights that were trained or loaded are initialized too; default no.

    Attributes:
        report: A row per parameter; `None` before the fit, and if all weights were left alone.

    Raises:
        ConfigError: The plan or the seed is not valid (at once, not at the fit).
        ModelError: At the fit: the model has lazy or meta parameters, the plan fills none of its parameters,
            or the plan needs a batch and the training data gives none.

    Example:
        >>> trainer = Trainer(callbacks=[InitCallback("he_normal", seed=0)])
    """

    def __init__(
        self,
        plan: "str | dict[str, Any] | InitPlan | os.PathLike[str]",
        seed: int = 0,
        include_frozen: bool = False,
        batch: Any = None,
        allow_code: Sequence[str] = (),
        force: bool = False,
    ) -> None:
        super().__init__()
        try:
            self.plan = InitPlan.from_spec(plan, allow_code)
            self.seed = check_int("seed", seed, minimum=None)
        except ConfigError as error:
            if _is_command_line():
                raise SystemExit(f"error: InitCallback: {error}") from error
            raise
        self.include_frozen = include_frozen
        self.batch = batch
        self.force = force
        self.report: InitReport | None = None
        self._initialized: WeakSet[nn.Module] = WeakSet()

    def setup(self, trainer: "Trainer", pl_module: "LightningModule", stage: str) -> None:
        """Apply the plan now, or right after a model that is built later."""
        if stage != "fit" or pl_module in self._initialized:
            return
        if overrides(type(pl_module), "configure_model"):
            self._apply_after("configure_model", trainer, pl_module)
        elif not overrides(type(pl_module), "setup"):
            self._apply(trainer, pl_module)
        elif next(pl_module.parameters(), None) is None:
            self._apply_after("setup", trainer, pl_module)
        else:
            try:
                self._apply(trainer, pl_module, may_wait=True)
            except _NotYetError:
                self._apply_after("setup", trainer, pl_module)

    def __getstate__(self) -> dict[str, Any]:
        """All but the modules that it has initialized, for strategies that send it to other processes."""
        return {key: value for key, value in vars(self).items() if key != "_initialized"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _initialized=WeakSet())

    def state_dict(self) -> dict[str, Any]:
        """The plan and the seed: a checkpoint shows how its run began."""
        return {"plan": self.plan.spec(), "seed": self.seed}

    def _apply(
        self, trainer: "Trainer", pl_module: "LightningModule", *, may_wait: bool = False
    ) -> None:
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        others = [each for each in callbacks if each is not self]
        freeze_as_they_will(others, pl_module)
        used = {} if self.force else used_before(pl_module)
        names = [name for name, _ in pl_module.named_parameters()]
        if used:
            self._warn_of(used, len(names), pl_module, trainer)
        if not used.keys() >= set(names):
            copies = copies_in(others, pl_module)
            self.report = self._filled(trainer, pl_module, used, may_wait)
            follow(copies)
        self._initialized.add(pl_module)
        if not trainer.is_global_zero or self.report is None:
            return
        logger.info("initialized %s:\n%s", type(pl_module).__name__, self.report)
        if trainer.ckpt_path:
            logger.info("the checkpoint %s replaces these weights", trainer.ckpt_path)
        for run_logger in trainer.loggers:
            self._log_settings(run_logger)

    def _filled(
        self,
        trainer: "Trainer",
        pl_module: "LightningModule",
        used: Mapping[str, str],
        may_wait: bool,
    ) -> InitReport:
        """Apply the plan, with a batch from the training data if it needs one."""

        def from_data() -> Any:
            try:
                return batches.training_batch(trainer, pl_module, self.seed)
            except ModelError as error:
                if may_wait:
                    raise _NotYetError from error
                raise

        batch = self.batch
        needed = batch is None and not self.plan.needs.isdisjoint(("batch", "loss"))
        if needed:
            batch = from_data()
        try:
            return self.plan.apply(
                pl_module,
                seed=self.seed,
                batch=batch,
                include_frozen=self.include_frozen,
                training_batch=from_data,
                targets=functools.partial(training_targets, trainer, self.seed),
                keep={name: f"{why} before, and force is not set" for name, why in used.items()},
            )
        except ModelError as error:
            if not needed or not str(error).startswith("batch "):
                raise
            several = "a collection of loaders; " if batches.is_collection(trainer) else ""
            raise ModelError(
                f"{batches.NONE_GIVEN} on which {type(pl_module).__name__} runs ({several}"
                f"{batches.reason(error)}): {batches.REMEDY}"
            ) from error

    def _warn_of(
        self,
        used: Mapping[str, str],
        total: int,
        pl_module: "LightningModule",
        trainer: "Trainer",
    ) -> None:
        if not trainer.is_global_zero:
            return
        what = " and ".join(sorted(Counter(used.values())))
        some = f"all {total}" if len(used) == total else f"{len(used)} of {total}"
        names = ", ".join(list(used)[:3]) + (", ..." if len(used) > 3 else "")
        warnings.warn(
            f"InitCallback leaves {some} parameters of {type(pl_module).__name__} as they are, since they were "
            f"{what} before ({names}): {_FORCE}",
            NoEffectWarning,
            stacklevel=2,
        )

    def _log_settings(self, run_logger: "Logger") -> None:
        """Log the plan and the seed; a record that refuses them is no reason not to train."""
        settings: Mapping[str, Any] = {"initsearch": {"plan": self.plan.spec(), "seed": self.seed}}
        try:
            run_logger.log_hyperparams(dict(settings))
        except Exception as error:  # noqa: BLE001 - loggers raise what they like; the warning names it
            warnings.warn(
                f"{type(run_logger).__name__} did not log the plan and seed={self.seed} "
                f"({type(error).__name__}: {batches.reason(error)}): MLflow's params cannot change, so log "
                "every fit with another plan or seed to a run of its own",
                stacklevel=2,
            )

    def _apply_after(self, hook: str, trainer: "Trainer", pl_module: "LightningModule") -> None:
        # Lightning has no hook between these and the restoring of a checkpoint, so the plan is appended to the
        # instance's own method, once.
        build: Callable[..., None] = getattr(pl_module, hook)
        # A fit that failed before it built the model has left its own wrapper: it is replaced.
        build = getattr(build, "__wrapped__", build)

        @functools.wraps(build)
        def build_then_initialize(*args: Any, **kwargs: Any) -> None:
            del pl_module.__dict__[hook]
            build(*args, **kwargs)
            self._apply(trainer, pl_module)

        pl_module.__dict__[hook] = build_then_initialize


class _NotYetError(Exception):
    """The training data may exist only after the module's own `setup`."""


def _is_command_line() -> bool:
    """Whether this is called by LightningCLI, which would bury an error in a list of all that it has tried."""
    frame = sys._getframe()
    while frame := frame.f_back:  # type: ignore[assignment]
        if frame.f_globals.get("__name__", "").startswith("jsonargparse."):
            return True
    return False
