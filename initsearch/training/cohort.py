"""`CohortModule`: the LightningModule that trains the candidates of one block side by side."""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from initsearch.errors import ConfigError
from initsearch.tasks.base import Batch, BatchFormat, Block, EvaluationSet, Ranks
from initsearch.tasks.streams import step_at
from initsearch.training.checkpoint import Checkpoint
from initsearch.training.engine_protocol import Engine
from initsearch.training.inputs import batch_format, lay_out
from initsearch.training.job import Curve, Point, TrainJob
from initsearch.training.loop_engine import LoopEngine
from initsearch.training.measure import measure
from initsearch.training.stacked_engine import StackedEngine, why_not_stacked

# Steps between looks at the losses on a GPU, which works ahead of the processor: a look waits for it.
LOOK_EVERY = 25
#: Of this process's time, what earlier trainings have counted: ranks stay up for many.
_counted = 0.0


@dataclass(frozen=True)
class _Stretch:
    """The batches of a part of a block's training: `(step, raw batch)` in order.

    Attributes:
        block: Gives the batches.
        first: The first step; the block's first is 0.
        last: The step before which it ends.
    """

    block: Block
    first: int
    last: int

    def __len__(self) -> int:
        return self.last - self.first

    def __iter__(self) -> Iterator[tuple[int, Batch]]:
        steps = range(self.first, self.last)
        return zip(steps, self.block.batches(self.first, self.last), strict=True)


@dataclass
class _Track:
    """What is known of one member so far."""

    points: list[Point] = field(default_factory=list)
    loss_sum: float = 0.0
    loss_count: int = 0
    initial_loss: float = math.nan
    last_loss: float | None = None
    diverged_at: int | None = None
    test: dict[str, float] | None = None
    state: str | None = None


class CohortModule(LightningModule):
    """Trains the members of a cohort by an engine, measures them, and drops those that diverge.

    Manual optimization: each member has its own optimizer, rate, clipping and loss. Losses are never
    averaged over members: a member's trajectory is the one it would have alone.

    Args:
        job: What is asked.
        members: The initialized models, in the order of the job's candidates.
        block: The batches of the job's seed, on the device that trains.
        test: Whether the test set is measured at the end.

    Raises:
        ConfigError: A setting breaks a rule, or the job has no step.
    """

    def __init__(
        self, job: TrainJob, members: Sequence[nn.Module], block: Block, *, test: bool = False
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.members = nn.ModuleList(members)
        self.job = job
        self.block = block
        self.test_at_end = test
        self.stretch = _stretch(job, block)
        asked = job.trainer.engine
        self.reason = (
            "trainer.engine=auto, and no probe has chosen" if asked == "auto" else "asked for"
        )
        self.tracks = [_Track() for _ in members]
        self.form = BatchFormat()
        self.cpu_seconds_elsewhere = 0.0
        self._bf16 = job.trainer.autocast == "bf16"
        self._engine: Engine | None = None
        self._unseen: list[Tensor] = []
        self._losses_from = step_at(job.losses_from, block.steps_per_epoch)
        optimizer, per_epoch = job.cohort_task.optimizer, block.steps_per_epoch
        courses = [optimizer.course(each.rate, per_epoch) for each in job.candidates]
        self._courses = [course for course in courses if course is not None]  # all, or none
        self._points: dict[int, list[float]] = {}
        for epoch in job.points:
            self._points.setdefault(step_at(epoch, block.steps_per_epoch), []).append(epoch)

    @property
    def engine(self) -> Engine:
        """What steps the members; made once they are on their device."""
        if self._engine is None:
            raise RuntimeError(
                "the cohort has no engine before Lightning configures its optimizers"
            )
        return self._engine

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Make the engine: by now the members are on their device and in their precision."""
        ranks = Ranks()
        if self.trainer.world_size > 1:
            reduce = self.trainer.strategy.reduce
            ranks = Ranks(
                self.trainer.global_rank,
                self.trainer.world_size,
                lambda values: reduce(values.clone(), reduce_op="sum"),
            )
        self.form = batch_format(self.job.trainer, list(self.members), ranks)
        lay_out(list(self.members), self.form)
        optimizers = []
        for candidate, member, track in zip(
            self.job.candidates, self.members, self.tracks, strict=True
        ):
            optimizer = self.job.cohort_task.optimizer.build(member.parameters(), candidate.rate)
            if candidate.name in self.job.states:
                self._resume(self.job.states[candidate.name], member, optimizer, track)
            optimizers.append(optimizer)
        self._engine = self._make_engine(optimizers)
        if self._engine.name == "stacked":
            for optimizer in optimizers:
                optimizer.state.clear()  # the engine has copied it
        return optimizers

    def _make_engine(self, optimizers: list[torch.optim.Optimizer]) -> Engine:
        """The engine that is asked for, or the loop where the members cannot be stacked."""
        members, task = list(self.members), self.job.cohort_task
        if self.job.stacked:
            if self.form.ranks.world > 1:
                obstacle: str | None = "a cohort over several processes is one candidate"
            else:
                example = self.block.ready(self.block.example(2), self.form)
                obstacle = why_not_stacked(members, task, example)
            if obstacle is None:
                return StackedEngine(
                    members,
                    [candidate.rate for candidate in self.job.candidates],
                    task,
                    [optimizer.state_dict() for optimizer in optimizers],
                    seed=self.job.seed,
                    bf16=self._bf16,
                )
            self.reason = f"stacked was asked for, but {obstacle}"
        return LoopEngine(
            members,
            optimizers,
            task,
            seed=self.job.seed,
            bf16=self._bf16,
            ranks=self.form.ranks,
            backward=self.manual_backward,
        )

    def _resume(
        self, path: str, member: nn.Module, optimizer: torch.optim.Optimizer, track: _Track
    ) -> None:
        state = Checkpoint.load(path)
        if state.step != self.stretch.first:
            raise ConfigError(
                f"state {path!r} is of step {state.step}, but the job resumes at step "
                f"{self.stretch.first}: give the state of that step"
            )
        member.load_state_dict(state.model)
        optimizer.load_state_dict(state.optimizer)
        track.initial_loss = state.initial_loss
        track.loss_sum, track.loss_count = state.losses

    def train_dataloader(self) -> _Stretch:
        """The block's batches from the job's start to its stop, raw."""
        return self.stretch

    def transfer_batch_to_device(
        self, batch: Any, device: torch.device, dataloader_idx: int
    ) -> Any:
        """Nothing to move here: `Block.ready` puts a batch where the members are."""
        return batch

    def training_step(self, batch: tuple[int, Batch], batch_idx: int) -> None:
        """One step of every living member on one batch."""
        step, raw = batch
        if self._courses:
            for member, group in self.engine.groups():
                group.update(self._courses[member](step))
        self._unseen.append(self.engine.step(self.block.ready(raw, self.form), step))

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
        """Record the losses since the last look, and drop members whose loss is not finite."""
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
        """Validate the living; `epochs` are the points of the budget that fall on this step."""
        lost = []
        for member, scores in self._measured("validation"):
            track, parameters = self.tracks[member], self.engine.module(member).parameters()
            finite = all(map(math.isfinite, scores.values()))
            if not (finite and all(bool(p.isfinite().all()) for p in parameters)):
                track.diverged_at = done - 1
                lost.append(member)
                continue
            train_loss = track.loss_sum / track.loss_count
            track.points += [Point(epoch, done, train_loss, scores) for epoch in epochs]
            track.loss_sum, track.loss_count = 0.0, 0
        if lost:
            self.engine.drop(lost)

    def _measured(self, part: EvaluationSet) -> list[tuple[int, dict[str, float]]]:
        """The scores of each living member."""
        models = [self.engine.module(member) for member in self.engine.living]
        with self.trainer.precision_plugin.val_step_context():
            scores = measure(models, self.block, part, self.form, bf16=self._bf16)
        return list(zip(self.engine.living, scores, strict=True))

    def on_train_end(self) -> None:
        """Measure the test set and keep checkpoints of the survivors, where the job asks for it."""
        if self._unseen:
            self._look(self.stretch.last)
        if self.test_at_end:
            for member, scores in self._measured("test"):
                self.tracks[member].test = scores
        if self.job.state_dir is not None and self.trainer.is_global_zero:
            for member in self.engine.living:
                self.tracks[member].state = self._save(member, self.job.state_dir)

        own = _uncounted_seconds()
        seconds = torch.tensor(own, dtype=torch.float64, device=self.device)
        self.cpu_seconds_elsewhere = float(self.form.ranks.total(seconds)) - own

    def _save(self, member: int, folder: str) -> str:
        state = Checkpoint(
            self.engine.module(member).state_dict(),
            self.engine.optimizer_state(member),
            self.stretch.last,
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
                test=track.test,
                state=track.state,
                last_loss=track.last_loss,
            )
            for candidate, track in zip(self.job.candidates, self.tracks, strict=True)
        )


def _uncounted_seconds() -> float:
    """The processor time of this process since it was counted last."""
    global _counted
    before, _counted = _counted, time.process_time()
    return _counted - before


def _stretch(job: TrainJob, block: Block) -> _Stretch:
    first, last = (step_at(e, block.steps_per_epoch) for e in (job.start_epoch, job.stop_epoch))
    if first == last:
        raise ConfigError(
            f"stop_epoch must be a step beyond start_epoch={job.start_epoch}, "
            f"but got {job.stop_epoch}: an epoch has {block.steps_per_epoch} steps"
        )
    return _Stretch(block, first, last)
