"""`ImageClassification`: images by class, a model with a score per class, cross-entropy and accuracy."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from initsearch.digests import short_hash
from initsearch.errors import ModelError
from initsearch.layers import Slot, describe
from initsearch.tasks.base import BatchFormat, EvaluationSet, TaskInfo
from initsearch.tasks.data import DataSettings, ImageData, Split, load_data, split, split_sizes
from initsearch.tasks.measuring import MEASURED_AT_ONCE, PREFIXES, score_name, whole_outputs
from initsearch.tasks.models import ModelSettings, build_model
from initsearch.tasks.objective import Objective, TargetScale
from initsearch.tasks.optimizer import OptimizerSettings
from initsearch.tasks.streams import IndexedBlock, steps_per_epoch

#: Images and their classes: float (N, C, H, W) and int64 (N,).
Images = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class ImageClassification:
    """Classify images; a `CohortTask`.

    Its scores are `val_accuracy` and `test_accuracy` (the share of right answers, in [0, 1]), `val_loss` and
    `test_loss` (the mean training loss; cross-entropy in nats), and one of the user's own.

    Attributes:
        data: Which images.
        model: Which architecture.
        optimizer: The optimizer, with the batch size.
        loss_name: The training loss; see `Objective`.
        extra_score: The dotted path of a further score; see `Objective`.
        main_metric: The metric for candidates of this task, where none is asked for.
    """

    data: DataSettings
    model: ModelSettings
    optimizer: OptimizerSettings
    loss_name: str = "auto"
    extra_score: str | None = None

    main_metric: ClassVar[str] = "val_accuracy"

    @property
    def lr(self) -> float:
        """The optimizer's learning rate."""
        return self.optimizer.lr

    @cached_property
    def objective(self) -> Objective:
        """The loss and the scores."""
        return Objective("class", self.loss_name, self.extra_score)

    def key(self) -> dict[str, Any]:
        """Plain data that determine every result of the task, given a candidate and a seed."""
        own = {} if self.objective.usual else {"objective": [self.loss_name, self.extra_score]}
        return {
            "data": self.data.key(),
            "model": self.model.key(),
            "optimizer": self.optimizer.key(),
            **own,
        }

    def info(self) -> TaskInfo:
        """The data set that was found, its sizes, and what a guess scores."""
        images = _load(self.data)
        dataset = _dataset_name(images)
        train, val = split_sizes(images, self.data.train_size, self.data.val_size)
        share, loss = 1 / images.num_classes, math.log(images.num_classes)
        losses = {"train_loss": loss, "val_loss": loss} if self.objective.cross_entropy else {}
        own = () if self.extra_score is None else (self.extra_score,)
        return TaskInfo(
            dataset=dataset,
            requested=images.requested if images.is_fallback else dataset,
            contents=_contents(images),
            sizes={"train": train, "validation": val, "test": len(images.test_y)},
            guess={**losses, "val_accuracy": share},
            steps_per_epoch=steps_per_epoch(train, self.optimizer.batch_size),
            test_score="test_accuracy",
            scores=("val_accuracy", "val_loss", *own),
            messages=tuple(self._messages(images, train, val)),
        )

    def _messages(self, images: ImageData, train: int, val: int) -> Iterator[str]:
        if images.is_fallback:
            yield (
                f"{images.requested} is not on this machine and cannot be downloaded: training on "
                f"{images.name} instead"
            )
        asked = (self.data.train_size, self.data.val_size)
        if any(size not in (None, got) for size, got in zip(asked, (train, val), strict=True)):
            yield (
                f"{_dataset_name(images)} has {len(images.train_y)} training images: training on {train}, "
                f"validating on {val}"
            )

    def pinned(self) -> "ImageClassification":
        """The task with the data set and the sizes that were found here, and without any download."""
        images = _load(self.data)
        train, val = split_sizes(images, self.data.train_size, self.data.val_size)
        found = {"name": images.name, "train_size": train, "val_size": val}
        data = self.data.model_copy(update={**found, "fallback": None, "download": False})
        return replace(self, data=data)

    def build_model(self) -> nn.Module:
        """A new model for images of this shape and number of classes."""
        images = _load(self.data)
        return build_model(self.model, images.input_shape, images.num_classes)

    def slots(self) -> list[Slot]:
        """The parameters of the model."""
        return describe(self.build_model(), self.example_inputs())

    def open(self, seed: int, device: torch.device) -> "ImageBlock":
        """The images on a device, with the split that a seed draws."""
        parts = _split(self.data, seed)
        train, validation = parts.train.to(device), parts.val.to(device)
        images = _load_on(self.data, device)
        return ImageBlock(
            images=images,
            train=train,
            validation=validation,
            seed=seed,
            batch_size=self.optimizer.batch_size,
            objective=self.objective,
        )

    def example_inputs(self) -> Tensor:
        """Two normalised images."""
        images = _load(self.data)
        return images.normalize(images.train_x[:2])

    def inputs(self, batch: Images) -> Tensor:
        """The images, float (N, C, H, W)."""
        return batch[0]

    def count(self, batch: Images) -> int:
        """Number of images."""
        return len(batch[1])

    def loss(self, model: nn.Module, batch: Images) -> Tensor:
        """The mean loss of a batch; cross-entropy in nats."""
        x, y = batch
        return self.objective.loss_of(class_scores(model, x), y)


@dataclass(frozen=True, eq=False, kw_only=True)
class ImageBlock(IndexedBlock):
    """One seed's images; a `Block`. A raw batch is indices into the training images, int64 (N,).

    Attributes:
        images: All images, on the device that trains; `train` and `validation` are indices into its training
            part.
        objective: Gives the scores.
    """

    images: ImageData
    objective: Objective

    def ready(self, batch: Tensor, form: BatchFormat) -> Images:
        """Normalised images with their classes, this process's share of a batch."""
        index = form.ranks.share(batch)
        return self._ready(self.images.train_x[index], self.images.train_y[index], form)

    def _ready(self, x: Tensor, y: Tensor, form: BatchFormat) -> Images:
        images = self.images.normalize(x, form.dtype)
        if form.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        return images.to(form.device), y.to(form.device)

    def targets(self) -> Tensor:
        """The class of each training image, int64 (N,)."""
        return self.images.train_y[self.train]

    def measure(
        self, models: Sequence[nn.Module], part: EvaluationSet, form: BatchFormat
    ) -> list[dict[str, float]]:
        """Accuracy in [0, 1] and mean loss of each model, and the score of one's own."""
        if part == "validation":
            x, y, pool = self.images.train_x, self.images.train_y, self.validation
        else:
            x, y = self.images.test_x, self.images.test_y
            pool = torch.arange(len(x), device=x.device)
        if not self.objective.usual:
            return self._measure_whole(models, part, form, x, y, pool)
        sums = torch.zeros(len(models), 2, dtype=torch.float64, device=x.device)
        share = form.ranks.share(pool)
        for start in range(0, len(share), MEASURED_AT_ONCE):
            index = share[start : start + MEASURED_AT_ONCE]
            images, labels = self._ready(x[index], y[index], form)
            for row, model in zip(sums, models, strict=True):
                scores = class_scores(model, images)
                row[0] += F.cross_entropy(scores, labels, reduction="sum").double()
                row[1] += (scores.argmax(1) == labels).sum()
        prefix = PREFIXES[part]
        return [
            {f"{prefix}_accuracy": right, f"{prefix}_loss": loss}
            for loss, right in (form.ranks.total(sums) / len(pool)).tolist()
        ]

    def _measure_whole(
        self,
        models: Sequence[nn.Module],
        part: EvaluationSet,
        form: BatchFormat,
        x: Tensor,
        y: Tensor,
        pool: Tensor,
    ) -> list[dict[str, float]]:
        """By a loss or a score of one's own, which need all outputs at once."""
        labels = y[pool].to(form.device)
        scale = TargetScale(torch.ones(1, dtype=torch.float64), 1.0)
        outputs = whole_outputs(
            models, pool, lambda i: self._ready(x[i], y[i], form)[0], class_scores, form.ranks
        )
        names = ("accuracy", "loss", *([self.objective.extra] if self.objective.extra else []))
        scores = (self.objective.scores(output, labels, scale) for output in outputs)
        return [{score_name(PREFIXES[part], n): found[n] for n in names} for found in scores]


def class_scores(model: nn.Module, x: Tensor) -> Tensor:
    """A model's class scores, (images, classes), in float32 at least.

    Raises:
        ModelError: The model returns something else.
    """
    output = model(x)
    if not isinstance(output, Tensor) or output.ndim != 2:
        got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ModelError(
            f"the model must return class scores of shape (images, classes), "
            f"but got {got}: wrap the model in one that does"
        )
    return output.to(torch.promote_types(output.dtype, torch.float32))


# A process trains many jobs on few data sets, and several candidates on the same block.
@lru_cache(maxsize=2)
def _load(settings: DataSettings) -> ImageData:
    return load_data(settings)


@lru_cache(maxsize=2)
def _load_on(settings: DataSettings, device: torch.device) -> ImageData:
    return _load(settings).to(device)


@lru_cache(maxsize=16)
def _split(settings: DataSettings, seed: int) -> Split:
    return split(_load(settings), seed, settings.train_size, settings.val_size)


def _dataset_name(images: ImageData) -> str:
    """What records call a data set; a folder of images has its folder's name as well."""
    if images.name != "image_folder":
        return images.name
    return f"{images.name}:{Path(images.source).name}"


def _contents(images: ImageData) -> str:
    """What distinguishes a data set from others of its name: files of a folder may be added or removed."""
    if images.name != "image_folder":
        return images.name
    moments = [round(value, 6) for value in (*images.mean.tolist(), *images.std.tolist())]
    sizes = [len(images.train_y), len(images.test_y)]
    return short_hash([_dataset_name(images), *sizes, images.classes, moments])
