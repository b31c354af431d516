"""`InitFinder`: a search at the start of a fit, beside Lightning's `LearningRateFinder`."""

import copy
import logging
import os
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from initsearch.callback import CallbackBase, InitCallback, used_before
from initsearch.errors import NoEffectWarning
from initsearch.finder.find import init_find
from initsearch.finder.result import InitFindResult

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer

logger = logging.getLogger(__name__)


class InitFinder(CallbackBase):
    """Searches the initialization of the module when a fit starts, and trains with the plan that was found.

    The fit is the one that `InitCallback(plan, seed)` would give: the search leaves module, data, Trainer and
    random state as they were. Lightning restores a checkpoint after this, which replaces the weights: leave the
    callback out of a fit with `ckpt_path`. A module whose weights were trained or loaded is not searched; see
    `InitCallback`.

    Args:
        metric: What candidates are compared by: a name that the module logs in validation (`val/acc`).
        mode: `max` if higher is better, `min` if lower is.
        seed: The seed of the search and of the plan's draws.
        space: As in `init_find`, and so are the next seven.
        baselines: Plans that are candidates from the start; the first is the baseline of the verdict.
        n_trials: Candidates in total.
        name: The study's name, under which it is resumed; None: a new study each time.
        output_dir: Where records are written.
        search: Settings of the config group `search`.
        race: Settings of the config group `race`.
        progress: Whether a progress bar is shown.
        force: Whether weights that were trained or loaded are searched and filled too; default no.
        engine: How the candidates of a seed are trained (`auto`, `trainer`, `loop` or `stacked`).

    Attributes:
        result: What the search found; None before the fit.

    Raises:
        InitSearchError: At the fit, as `init_find` raises it.

    Example:
        >>> trainer = Trainer(max_epochs=5, callbacks=[InitFinder("val/acc", "max")])
    """

    def __init__(
        self,
        metric: str,
        mode: str,
        seed: int = 0,
        space: dict[str, Any] | str | None = None,
        baselines: dict[str, Any] | list[str] | None = None,
        n_trials: int = 16,
        name: str | None = None,
        output_dir: str | os.PathLike[str] = "outputs",
        search: dict[str, Any] | None = None,
        race: dict[str, Any] | None = None,
        progress: bool = True,
        force: bool = False,
        engine: str = "auto",
    ) -> None:
        super().__init__()
        self.seed = seed
        self.force = force
        self.result: InitFindResult | None = None
        self._options: Mapping[str, Any] = {
            "metric": metric,
            "mode": mode,
            "seed": seed,
            "space": space,
            "baselines": baselines,
            "n_trials": n_trials,
            "name": name,
            "output_dir": output_dir,
            "search": search,
            "race": race,
            "progress": progress,
            "engine": engine,
        }

    def setup(self, trainer: "Trainer", pl_module: "LightningModule", stage: str) -> None:
        """Search, and apply the plan that was found."""
        if stage != "fit" or self.result is not None:
            return
        if not self.force and used_before(pl_module):
            warnings.warn(
                f"InitFinder does not search: weights of {type(pl_module).__name__} were trained or loaded "
                "before: InitFinder(..., force=True) replaces them",
                NoEffectWarning,
                stacklevel=2,
            )
            return
        data = _data_of(trainer, pl_module)
        mine = _unattached(trainer, pl_module, data)
        self.result = init_find(pl_module, trainer=mine, **data, **self._options)
        logger.info("%s", self.result.verdict.sentence)
        found = InitCallback(self.result.suggestion(), seed=self.seed, force=self.force)
        found.setup(trainer, pl_module, stage)


# Lightning's annotations lack attributes of a Trainer: here it is `Any`.
def _data_of(trainer: Any, module: "LightningModule") -> dict[str, Any]:
    """The data that were passed to `fit`, as keywords of it."""
    if trainer.datamodule is not None:
        return {"datamodule": trainer.datamodule}
    loops = {
        "train_dataloaders": trainer.fit_loop,
        "val_dataloaders": trainer.fit_loop.epoch_loop.val_loop,
    }
    passed = {name: loop._data_source.instance for name, loop in loops.items()}
    return {name: data for name, data in passed.items() if data is not None and data is not module}


def _unattached(trainer: Any, module: "LightningModule", data: Mapping[str, Any]) -> "Trainer":
    """A copy of a Trainer that has begun a fit, without the fit's module and data."""
    # A fit gives each callback the module's `log` and `log_dict`.
    stored = [value for callback in trainer.callbacks for value in vars(callback).values()]
    methods = [value for value in stored if getattr(value, "__self__", None) is module]
    left_out = [module, *data.values(), *methods]
    copied: Trainer = copy.deepcopy(trainer, {id(one): None for one in left_out})
    return copied
