"""`InitCallback`: applies an initialization plan in any Lightning project, with one line."""

import functools
import importlib.util
import logging
import os
import pkgutil
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import torch
from torch import nn

from initsearch.checks import check_int
from initsearch.errors import ModelError, shortened
from initsearch.plan import InitPlan, InitReport
from initsearch.random_state import isolated_random_state

if TYPE_CHECKING:
    from lightning.pytorch import Callback, LightningModule, Trainer
    from lightning.pytorch.loggers import Logger

    CallbackBase = Callback
else:

    def _bases() -> tuple[type, ...]:
        """The `Callback` of every installed Lightning.

        `lightning.pytorch` and `pytorch_lightning` are two copies of one class hierarchy. The LightningCLI of
        each refuses a callback that derives from the other's class only, so this one derives from both.
        """
        found = [
            pkgutil.resolve_name(f"{name}.callbacks:Callback")
            for package, name in (
                ("lightning", "lightning.pytorch"),
                ("pytorch_lightning", "pytorch_lightning"),
            )
            if importlib.util.find_spec(package) is not None
        ]
        if not found:
            raise ImportError("InitCallback needs Lightning: pip install lightning")
        return tuple(found)

    CallbackBase = type("CallbackBase", _bases(), {})

logger = logging.getLogger(__name__)


class InitCallback(CallbackBase):
    """Initializes a LightningModule's parameters by a plan, before training.

    It runs in `setup(stage="fit")`: before a checkpoint is restored (`ckpt_path` overrides the plan) and before
    DDP wraps the model. All ranks draw the same values, since each parameter's generator is a function of the
    seed and its name. A model that is built in `configure_model` is initialized right after that. A module is
    initialized once: a second `fit` continues with the weights that it has.

    A plan that needs a batch (`lsuv`) gets the first batch of the training data, drawn with `seed` and the
    same on every rank; this does not change the order of the training data. It is taken before the module's
    own `setup`: data that is made there must be passed as `batch`.

    Args:
        plan: The name of an initializer, a mapping, a path to a plan file, or an `InitPlan`.
        seed: The seed of all draws; default 0.
        include_frozen: Whether parameters with `requires_grad=False` are filled too; default no.
        batch: An input of the module's `forward` (a tensor, a pair of inputs and labels, ...). It shows what
            follows each layer, and is what layers are measured on. Default: from the training data if the
            plan needs it or `forward` does not run all layers (`training_step` then runs once, without
            logging or stepping), else an input guessed from the first layer.
        allow_code: For a plan file: the Python code that it may name by a dotted path; see `InitPlan.load`.

    Attributes:
        report: A row per parameter; `None` before the fit.

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
    ) -> None:
        super().__init__()
        self.plan = InitPlan.from_spec(plan, allow_code)
        self.seed = check_int("seed", seed, minimum=None)
        self.include_frozen = include_frozen
        self.batch = batch
        self.report: InitReport | None = None
        self._initialized: WeakSet[nn.Module] = WeakSet()

    def setup(self, trainer: "Trainer", pl_module: "LightningModule", stage: str) -> None:
        """Apply the plan now, or right after a model that is built later."""
        if stage != "fit" or pl_module in self._initialized:
            return
        if _builds_later(pl_module):
            self._apply_after_configure_model(trainer, pl_module)
        else:
            self._apply(trainer, pl_module)

    def __getstate__(self) -> dict[str, Any]:
        """All but the modules that it has initialized, for strategies that send it to other processes."""
        return {key: value for key, value in vars(self).items() if key != "_initialized"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _initialized=WeakSet())

    def state_dict(self) -> dict[str, Any]:
        """The plan and the seed: a checkpoint shows how its run began."""
        return {"plan": self.plan.spec(), "seed": self.seed}

    def _apply(self, trainer: "Trainer", pl_module: "LightningModule") -> None:
        batch = self.batch
        if batch is None and "batch" in self.plan.needs:
            batch = _training_batch(trainer, self.seed)
        self.report = self.plan.apply(
            pl_module,
            seed=self.seed,
            batch=batch,
            include_frozen=self.include_frozen,
            training_batch=functools.partial(_training_batch, trainer, self.seed),
        )
        self._initialized.add(pl_module)
        if not trainer.is_global_zero:
            return
        logger.info("initialized %s:\n%s", type(pl_module).__name__, self.report)
        for run_logger in trainer.loggers:
            self._log_settings(run_logger)

    def _log_settings(self, run_logger: "Logger") -> None:
        """Log the plan and the seed; a record that refuses them is no reason not to train."""
        settings: Mapping[str, Any] = {"initsearch": {"plan": self.plan.spec(), "seed": self.seed}}
        try:
            run_logger.log_hyperparams(dict(settings))
        except Exception as error:  # noqa: BLE001 - loggers raise what they like; the warning names it
            reason = shortened((str(error).splitlines() or [""])[0])
            warnings.warn(
                f"{type(run_logger).__name__} did not log the plan and seed={self.seed} "
                f"({type(error).__name__}: {reason}): MLflow's params cannot change, so log every fit with "
                "another plan or seed to a run of its own",
                stacklevel=2,
            )

    def _apply_after_configure_model(
        self, trainer: "Trainer", pl_module: "LightningModule"
    ) -> None:
        # Lightning has no hook between configure_model and the restoring of a checkpoint, so the plan is
        # appended to the instance's own method, once.
        build = pl_module.configure_model
        # A fit that failed before it built the model has left its own wrapper: it is replaced.
        build = getattr(build, "__wrapped__", build)

        @functools.wraps(build)
        def build_then_initialize() -> None:
            del pl_module.__dict__["configure_model"]
            build()
            self._apply(trainer, pl_module)

        pl_module.__dict__["configure_model"] = build_then_initialize


def _training_batch(trainer: "Trainer", seed: int) -> Any:
    """The first batch of the training data; no random state is moved by it."""
    try:
        # What was given to fit, or what the datamodule or the module makes.
        loader: Any = trainer.fit_loop._data_source.dataloader()
        # A CombinedLoader of one loader: its own batches come with numbers.
        loader = getattr(loader, "iterables", loader)
        if isinstance(loader, Mapping | list | tuple):
            raise TypeError("it is a collection of loaders")
        with isolated_random_state(seed=seed, generators=_generators(loader)):
            return next(iter(loader))
    except Exception as error:  # users' data code may raise anything
        reason = shortened((str(error) or type(error).__name__).splitlines()[0])
        raise ModelError(
            f"the plan needs a batch, but the training data gave none ({reason}): pass "
            "InitCallback(..., batch=...)"
        ) from error


def _generators(loader: Any) -> list[torch.Generator]:
    """The generators that a loader and its sampler draw from."""
    holders = (loader, getattr(loader, "sampler", None))
    return [
        generator
        for holder in holders
        if isinstance(generator := getattr(holder, "generator", None), torch.Generator)
    ]


def _builds_later(pl_module: "LightningModule") -> bool:
    """Whether the module overrides `configure_model`, which Lightning calls after `setup`."""
    inherited = {
        pkgutil.resolve_name(f"{name}:LightningModule").configure_model
        for name in ("lightning.pytorch", "pytorch_lightning")
        if importlib.util.find_spec(name.partition(".")[0]) is not None
    }
    return type(pl_module).configure_model not in inherited
