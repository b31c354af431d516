"""B0 and B1: what a user of Optuna and Lightning writes without this project.

Both use the same models, plans, number of images, batch size, optimizer and epochs as the search
does. Where a choice was open, the faster one was taken: no progress bar, no model summary, no
checkpoints, `ToTensor` without a `Normalize` behind it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import optuna
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, random_split
from torchvision import datasets, transforms

from initsearch.plan import InitPlan
from initsearch.tasks.data import ImageData
from initsearch.tasks.models import build_model

SHAPE, CLASSES = (1, 28, 28), 10
PLANS = ("he_normal", "glorot_uniform", "lecun_normal", "he_uniform", "orthogonal", "torch_default")


@dataclass(frozen=True)
class Setting:
    """What is trained: the same for everyone.

    Attributes:
        model: What `build_model` takes.
        root: The folder that holds `MNIST/raw`.
        images: Images to train on.
        validation: Images to validate on.
        batch: Images per step.
        epochs: The full budget.
        lr: Learning rate of SGD with momentum 0.9.
        workers: Processes of B0's DataLoader.
    """

    model: dict[str, Any]
    root: str
    images: int = 12_000
    validation: int = 4_000
    batch: int = 128
    epochs: int = 3
    lr: float = 0.05
    workers: int = 0


class Classifier(pl.LightningModule):
    """An image classifier as the documentation of Lightning writes it."""

    def __init__(self, setting: Setting, plan: str, seed: int) -> None:
        super().__init__()
        self.setting = setting
        self.model: nn.Module = build_model(setting.model, SHAPE, CLASSES)
        InitPlan.from_spec(plan).apply(self.model, seed=seed, batch=torch.zeros(2, *SHAPE))

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        """The loss of a batch."""
        return F.cross_entropy(self.model(batch[0]), batch[1])

    def validation_step(self, batch: tuple[Tensor, Tensor], _: int) -> None:
        """Accuracy and loss, averaged over the epoch by Lightning."""
        scores = self.model(batch[0])
        self.log("val_loss", F.cross_entropy(scores, batch[1]))
        self.log("val_accuracy", (scores.argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """SGD with momentum."""
        return torch.optim.SGD(self.parameters(), self.setting.lr, momentum=0.9)


# --- B0: Optuna's own Lightning example (optuna-examples, pytorch/pytorch_lightning_simple.py) ---


class MnistModule(pl.LightningDataModule):
    """torchvision's data set with `ToTensor`, behind DataLoaders."""

    def __init__(self, setting: Setting, seed: int) -> None:
        super().__init__()
        self.setting = setting
        self.seed = seed

    def setup(self, stage: str) -> None:
        """Split the training images at random."""
        images = datasets.MNIST(self.setting.root, train=True, transform=transforms.ToTensor())
        train, val = self.setting.images, self.setting.validation
        generator = torch.Generator().manual_seed(self.seed)
        sizes = [train, val, len(images) - train - val]
        self.train, self.val, _ = random_split(images, sizes, generator)

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffled batches."""
        return self._loader(self.train, shuffle=True)

    def val_dataloader(self) -> DataLoader[Any]:
        """Batches in order."""
        return self._loader(self.val, shuffle=False)

    def _loader(self, images: Any, shuffle: bool) -> DataLoader[Any]:
        workers = self.setting.workers
        return DataLoader(
            images,
            self.setting.batch,
            shuffle=shuffle,
            num_workers=workers,
            persistent_workers=workers > 0,
        )


class Pruning(pl.Callback):
    """What Optuna's PyTorchLightningPruningCallback does: report each validation, and end if told so."""

    def __init__(self, trial: optuna.Trial) -> None:
        self.trial = trial

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report the accuracy of the epoch."""
        if trainer.sanity_checking:
            return
        self.trial.report(trainer.callback_metrics["val_accuracy"].item(), trainer.current_epoch)
        if self.trial.should_prune():
            raise optuna.TrialPruned


def b0_study() -> optuna.Study:
    """The study of the example: in memory, with a MedianPruner."""
    return optuna.create_study(direction="maximize", pruner=optuna.pruners.MedianPruner())


def b0_trial(study: optuna.Study, setting: Setting, folder: Path) -> None:
    """One more trial of the study: one candidate on a seed of its own."""

    def objective(trial: optuna.Trial) -> float:
        plan = trial.suggest_categorical("plan", PLANS)
        trainer = pl.Trainer(
            accelerator="cpu",
            devices=1,
            max_epochs=setting.epochs,
            logger=True,
            default_root_dir=folder,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[Pruning(trial)],
        )
        module = Classifier(setting, plan, trial.number)
        trainer.fit(module, datamodule=MnistModule(setting, trial.number))
        return trainer.callback_metrics["val_accuracy"].item()

    study.optimize(objective, n_trials=1)


# --- B1: the careful user -------------------------------------------------------------------------


class TensorBatches:
    """Batches of tensors that lie in memory, by index; much faster than a DataLoader's."""

    def __init__(self, x: Tensor, y: Tensor, batch: int, generator: torch.Generator | None) -> None:
        self.x, self.y, self.batch, self.generator = x, y, batch, generator

    def __len__(self) -> int:
        return -(-len(self.y) // self.batch)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        if self.generator is None:
            yield from zip(self.x.split(self.batch), self.y.split(self.batch), strict=True)
        else:
            for index in torch.randperm(len(self.y), generator=self.generator).split(self.batch):
                yield self.x[index], self.y[index]


def b1_run(data: ImageData, setting: Setting, plan: str, seed: int) -> float:
    """One candidate on one seed, which all candidates share: split, order and noise come from it.

    Args:
        data: MNIST in memory, read once.
        setting: What is trained.
        plan: The candidate.
        seed: The seed.
    """
    order = torch.randperm(len(data.train_y), generator=torch.Generator().manual_seed(seed))
    train, val = order.split([setting.images, len(order) - setting.images])
    val = val[: setting.validation]
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    loaders = [
        TensorBatches(data.normalize(data.train_x[part]), data.train_y[part], size, draw)
        for part, size, draw in ((train, setting.batch, generator), (val, 500, None))
    ]
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=setting.epochs,
        check_val_every_n_epoch=setting.epochs,  # a fixed number of seeds needs the end alone
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Classifier(setting, plan, seed), *loaders)
    return trainer.callback_metrics["val_accuracy"].item()
