"""`CohortModule`: the LightningModule that trains the candidates of one block side by side."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from initsearch.errors import ConfigError
from initsearch.tasks.data import ImageData, Split
from initsearch.training.engines import Engine, InputSettings, LoopEngine, Ranks
from initsearch.training.job import Curve, Job, Point
from initsearch.training.measure import score
from initsearch.training.optimizers import OptimizerSettings
from initsearch.training.stacked import StackedEngine, why_not_stacked
from initsearch.training.states import State
from initsearch.training.streams import BatchStream, step_at
from initsearch.training.trainer_settings import TrainerSettings

# Steps between looks at the losses on a device that works ahead of the processor: a look waits for
# it.
LOOK_EVERY = 25


@dataclass
class _Track:
    """What is known of one member so far."""

    points: list[Point] = field(default_factory=list)
    loss_sum: float = 0.0
    loss_count: int = 0
    initial_loss: float = math.nan
    last_loss: float | None = None
    diverged_at: int | None = None
    test: tuple[float, float] | None = None
    state: str | None = None


class CohortModule(LightningModule):
    """Trains the members of a cohort by an engine, measures them, and takes out those that diverge.

    Manual optimization: each member has its own optimizer, rate, clipping and loss. The losses are
    never averaged over members, so that a member's trajectory is the one it would have alone.

    Args:
        job: What is asked.
        members: The initialized models, in the order of the job's candidates.
        data: The images, on the device that trains.
        split: The block's training and validation images.

    Raises:
        ConfigError: A setting breaks a rule, or the job holds no step.
    """

    def __init__(
        self, job: Job, members: Sequence[nn.Module], data: ImageData, split: Split
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.members = nn.ModuleList(members)
        self.job = job
        self.data = data
        self.optimizer_settings = OptimizerSettings.from_mapping(job.optimizer)
        self.trainer_settings = TrainerSettings.from_mapping(job.trainer)
        self.stream = _stream(job, data, split, self.optimizer_settings.batch_size)
        validation = split.val.to(data.train_x.device)
        self.validation = data.train_x[validation], data.train_y[validation]
        asked = self.trainer_settings.engine
        self.reason = (
            "trainer.engine=auto, and no probe has chosen" if asked == "auto" else "asked for"
        )
        self.tracks = [_Track() for _ in members]
        self.ranks = Ranks()
        self.cpu_seconds_elsewhere = 0.0
        self._engine: Engine | None = None
        self._unseen: list[Tensor] = []
        self._losses_from = step_at(job.losses_from, self.stream.per_epoch)
        self._points: dict[int, list[float]] = {}
        for epoch in job.points:
            self._points.setdefault(step_at(epoch, self.stream.per_epoch), []).append(epoch)

    @property
    def engine(self) -> Engine:
        """What steps the members; there from the moment that the members are on their device."""
        if self._engine is None:
            raise RuntimeError(
                "the cohort has no engine before Lightning configures its optimizers"
            )
        return self._engine

    @property
    def inputs(self) -> InputSettings:
        """How images are made ready for the members."""
        dtype = next(self.members.parameters()).dtype
        return InputSettings.asked(self.trainer_settings, dtype)

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Build the engine: the members are on their device by now, and in their precision."""
        if self.trainer.world_size > 1:
            reduce = self.trainer.strategy.reduce
            self.ranks = Ranks(
                self.trainer.global_rank,
                self.trainer.world_size,
                lambda values: reduce(values.clone(), reduce_op="sum"),
            )
        self.inputs.lay_out(self.members)
        optimizers = []
        for candidate, member, track in zip(
            self.job.candidates, self.members, self.tracks, strict=True
        ):
            optimizer = self.optimizer_settings.build(member.parameters(), candidate.lr)
            if candidate.name in self.job.state_in:
                self._resume(self.job.state_in[candidate.name], member, optimizer, track)
            optimizers.append(optimizer)
        self._engine = self._make_engine(optimizers)
        if self._engine.name == "stacked":
            for optimizer in optimizers:
                optimizer.state.clear()  # the engine's own copy is what goes on
        return optimizers

    def _make_engine(self, optimizers: list[torch.optim.Optimizer]) -> Engine:
        """The engine that is asked for, or the loop where that one cannot be."""
        members = list(self.members)
        if self.trainer_settings.engine == "stacked":
            images = self.data.train_x[self.stream.pool[:2]]
            obstacle = why_not_stacked(
                members, self.optimizer_settings, self.inputs.ready(self.data, images)
            )
            if self.ranks.world > 1:
                obstacle = "a cohort over several processes is one candidate"
            if obstacle is None:
                return StackedEngine(
                    members,
                    [candidate.lr for candidate in self.job.candidates],
                    self.optimizer_settings,
                    [optimizer.state_dict() for optimizer in optimizers],
                    seed=self.job.seed,
                    bf16=self.inputs.bf16,
                )
            self.reason = f"stacked was asked for, but {obstacle}"
        return LoopEngine(
            members,
            optimizers,
            seed=self.job.seed,
            clip_norm=self.optimizer_settings.clip_norm,
            bf16=self.inputs.bf16,
            ranks=self.ranks,
            backward=self.manual_backward,
        )

    def _resume(
        self, path: str, member: nn.Module, optimizer: torch.optim.Optimizer, track: _Track
    ) -> None:
        state = State.load(path)
        if state.step != self.stream.first:
            raise ConfigError(
                f"state {path!r} stands at step {state.step}, but the job goes on from step "
                f"{self.stream.first}: give the state of that step"
            )
        member.load_state_dict(state.model)
        optimizer.load_state_dict(state.optimizer)
        track.initial_loss = state.initial_loss
        track.loss_sum, track.loss_count = state.losses

    def train_dataloader(self) -> BatchStream:
        """The block's batches, by index."""
        return self.stream

    def transfer_batch_to_device(
        self, batch: Any, device: torch.device, dataloader_idx: int
    ) -> Any:
        """Nothing to move: indices and images are on the device already."""
        return batch

    def training_step(self, batch: tuple[int, Tensor], batch_idx: int) -> None:
        """One step of every living member on one batch."""
        step, index = batch
        index = self.ranks.share(index)
        x = self.inputs.ready(self.data, self.data.train_x[index])
        self._unseen.append(self.engine.step(x, self.data.train_y[index], step))

    def on_train_batch_end(self, outputs: Any, batch: tuple[int, Tensor], batch_idx: int) -> None:
        """Look at the losses; at a point of the budget, measure."""
        done = batch[0] + 1
        stop = done in self._points or done == self._losses_from
        if stop or self.device.type == "cpu" or len(self._unseen) >= LOOK_EVERY:
            self._look(done)
        if done in self._points:
            self._measure(self._points[done], done)
        elif done == self._losses_from:
            for track in self.tracks:
                track.loss_sum, track.loss_count = 0.0, 0
        if not self.engine.living:
            self.trainer.should_stop = True

    def _look(self, done: int) -> None:
        """Take note of the losses since the last look, and of the first that is not finite."""
        losses = torch.stack(self._unseen).double()
        first = done - len(self._unseen)
        self._unseen.clear()
        lost = []
        for member, column in zip(self.engine.living, losses.T.tolist(), strict=True):
            track = self.tracks[member]
            if first == 0:
                track.initial_loss = column[0]
            for step, loss in enumerate(column, first):
                if not math.isfinite(loss):
                    track.diverged_at = step
                    lost.append(member)
                    break
                track.loss_sum += loss
                track.loss_count += 1
                track.last_loss = loss
        if lost:
            self.engine.drop(lost)

    def _measure(self, epochs: Sequence[float], done: int) -> None:
        """Validate the living; `epochs` are the points of the budget that this step is."""
        lost = []
        for member, (loss, accuracy) in self._score(*self.validation):
            track, parameters = self.tracks[member], self.engine.module(member).parameters()
            if not (math.isfinite(loss) and all(bool(p.isfinite().all()) for p in parameters)):
                track.diverged_at = done - 1
                lost.append(member)
                continue
            train_loss = track.loss_sum / track.loss_count
            track.points += [Point(epoch, done, train_loss, loss, accuracy) for epoch in epochs]
            track.loss_sum, track.loss_count = 0.0, 0
        if lost:
            self.engine.drop(lost)

    def _score(self, x: Tensor, y: Tensor) -> list[tuple[int, tuple[float, float]]]:
        """Loss and accuracy of each living member."""
        models = [self.engine.module(member) for member in self.engine.living]
        with self.trainer.precision_plugin.val_step_context():
            scores = score(models, self.data, x, y, self.inputs, self.ranks)
        return list(zip(self.engine.living, scores, strict=True))

    def on_train_end(self) -> None:
        """Score the survivors on the test set and leave their states, where the job asks for it."""
        if self._unseen:
            self._look(self.stream.last)
        if self.job.test:
            for member, result in self._score(self.data.test_x, self.data.test_y):
                self.tracks[member].test = result
        if self.job.state_dir is not None and self.trainer.is_global_zero:
            for member in self.engine.living:
                self.tracks[member].state = self._leave(member, self.job.state_dir)

        own = time.process_time()
        seconds = torch.tensor(own, dtype=torch.float64, device=self.device)
        self.cpu_seconds_elsewhere = float(self.ranks.total(seconds)) - own

    def _leave(self, member: int, folder: str) -> str:
        state = State(
            self.engine.module(member).state_dict(),
            self.engine.optimizer_state(member),
            self.stream.last,
            self.tracks[member].initial_loss,
            (self.tracks[member].loss_sum, self.tracks[member].loss_count),
        )
        return state.save(folder, self.job.candidates[member].name, self.job.seed)

    def curves(self) -> tuple[Curve, ...]:
        """What became of each candidate, in the job's order."""
        return tuple(
            Curve(
                candidate=candidate.name,
                seed=self.job.seed,
                points=tuple(track.points),
                initial_loss=track.initial_loss,
                diverged=track.diverged_at is not None,
                diverged_at=track.diverged_at,
                test_accuracy=track.test[1] if track.test else None,
                test_loss=track.test[0] if track.test else None,
                state=track.state,
                last_loss=track.last_loss,
            )
            for candidate, track in zip(self.job.candidates, self.tracks, strict=True)
        )


def _stream(job: Job, data: ImageData, split: Split, batch_size: int) -> BatchStream:
    pool = split.train.to(data.train_x.device)
    stream = BatchStream(pool, job.seed, batch_size, 0, 0)
    stream.first = step_at(job.start_epoch, stream.per_epoch)
    stream.last = step_at(job.stop_epoch, stream.per_epoch)
    if stream.first == stream.last:
        raise ConfigError(
            f"stop_epoch must be a step beyond start_epoch={job.start_epoch}, "
            f"but got {job.stop_epoch}: an epoch has {stream.per_epoch} steps"
        )
    return stream
