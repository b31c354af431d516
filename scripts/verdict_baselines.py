"""The baselines B0 and B1: what a user of Optuna and Lightning writes without this project.

Both use the models, plans, number of images, batch size, optimizer and epochs of the search. Where
there was a choice, they take the faster option: no progress bar, no model summary, no checkpoints,
`ToTensor` without a `Normalize` after it.
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
from initsearch.tasks.models import ModelSettings, build_model

SHAPE, CLASSES = (1, 28, 28), 10
PLANS = ("he_normal", "glorot_uniform", "lecun_normal", "he_uniform", "orthogonal", "torch_default")


@dataclass(frozen=True)
class Setting:
    """What is trained: the same for all contenders.

    Attributes:
        model: The model's settings, as the config group `model` has them.
        root: The folder that holds `MNIST/raw`.
        images: Images to train on.
        validation: Images to validate on.
        batch: Images per step.
        epochs: The full budget.
        lr: Learning rate of SGD with momentum 0.9.
        workers: Worker processes of B0's DataLoader.
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
    """An image classifier in the style of Lightning's documentation."""

    def __init__(self, setting: Setting, plan: str, seed: int) -> None:
        super().__init__()
        self.setting = setting
        model = ModelSettings.parse("model", setting.model)
        self.model: nn.Module = build_model(model, SHAPE, CLASSES)
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
    """torchvision's MNIST with `ToTensor`, loaded by DataLoaders."""

    def __init__(self, setting: Setting, seed: int) -> None:
        super().__init__()
        self.setting = setting
        self.seed = seed

    def setup(self, stage: str) -> None:
        """Split the training images by the seed."""
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
    """Report each validation and prune, as Optuna's PyTorchLightningPruningCallback does."""

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
    """Run one more trial of the study: one candidate on its own seed."""

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


# --- B1: a careful user ---------------------------------------------------------------------------


class TensorBatches:
    """Batches indexed from tensors in memory, which is much faster than a DataLoader."""

    def __init__(self, x: Tensor, y: Tensor, batch: int, generator: torch.Generator | None) -> None:
        self.x, self.y, self.batch, self.generator = x, y, batch, generator

    def __len__(self) -> int:
        return -(-len(self.y) // self.batch)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        if self.generator is None:
            parts = (torch.split(tensor, self.batch) for tensor in (self.x, self.y))
            yield from zip(*parts, strict=True)
        else:
            order = torch.randperm(len(self.y), generator=self.generator)
            for index in torch.split(order, self.batch):
                yield self.x[index], self.y[index]


def b1_run(data: ImageData, setting: Setting, plan: str, seed: int) -> float:
    """Train one candidate on one seed.

    Args:
        data: MNIST in memory, read once.
        setting: What is trained.
        plan: The candidate.
        seed: Sets split, data order and base noise, which all candidates of a seed share.

    Returns:
        The validation accuracy, 0 to 1.
    """
    order = torch.randperm(len(data.train_y), generator=torch.Generator().manual_seed(seed))
    train, val = order[: setting.images], order[setting.images :][: setting.validation]
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    train_batches, val_batches = (
        TensorBatches(data.normalize(data.train_x[part]), data.train_y[part], size, draw)
        for part, size, draw in ((train, setting.batch, generator), (val, 500, None))
    )
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=setting.epochs,
        check_val_every_n_epoch=setting.epochs,  # a fixed number of seeds needs the last score only
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Classifier(setting, plan, seed), train_batches, val_batches)
    return trainer.callback_metrics["val_accuracy"].item()
