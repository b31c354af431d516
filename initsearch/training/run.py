"""`train_cohort`: a cohort from its job to its result, in the process that calls it."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import compress

import torch
from lightning.pytorch import Trainer
from torch import nn

from initsearch.errors import ConfigError
from initsearch.execution import own_device
from initsearch.tasks.data import ImageData
from initsearch.training.block import build_members, load_block
from initsearch.training.cohort import CohortModule
from initsearch.training.engines import InputSettings, Ranks
from initsearch.training.job import CohortResult, Curve, Job
from initsearch.training.lightning_run import fit, make_trainer, one_thread, quiet
from initsearch.training.measure import score
from initsearch.training.screening import screened
from initsearch.training.states import State
from initsearch.training.trainer_settings import TrainerSettings


def train_cohort(job: Job) -> CohortResult:
    """Train a cohort and measure it.

    The result is a function of the job alone: neither the process, the other candidates nor the
    global random state (left as it was) enter it.

    Args:
        job: What is asked.

    Raises:
        ConfigError: A setting breaks a rule.
        DataError: The data set cannot be had.
        ModelError: The model cannot be built, initialized or trained.
        KeyboardInterrupt: Ctrl-C was pressed; nothing is left half-written.
    """
    wall, cpu = time.perf_counter(), time.process_time()
    settings = TrainerSettings.from_mapping(job.trainer)
    if settings.distributed and len(job.candidates) > 1:
        raise ConfigError(
            f"a job over several processes (trainer.strategy={settings.strategy}, "
            f"{settings.device_count} devices) must have one candidate, "
            f"but got {len(job.candidates)}: give each candidate a job of its own"
        )
    with quiet():
        trainer = make_trainer(settings, own_device())
        where = trainer.strategy.root_device
        generators = [where] if where.type == "cuda" else []
        with one_thread(where), torch.random.fork_rng(generators):
            data, parts = load_block(job.data, job.seed, where)
            if job.start_epoch == job.stop_epoch:
                return _test_only(job, build_members(job, data, parts), data, trainer, wall, cpu)
            members = build_members(job, data, parts)
            screening = job.screen and job.start_epoch == 0
            stopped = screened(job, members, data, parts) if screening else {}
            if len(stopped) == len(members):
                return _nothing_trained(job, stopped, where, wall, cpu)
            alive = [c.name not in stopped for c in job.candidates]
            part = replace(job, candidates=tuple(compress(job.candidates, alive)))
            module = CohortModule(part, list(compress(members, alive)), data, parts)
            fit(trainer, module)
        curves = {curve.candidate: curve for curve in (*module.curves(), *_stopped(job, stopped))}
        return CohortResult(
            curves=tuple(curves[candidate.name] for candidate in job.candidates),
            wall_seconds=time.perf_counter() - wall,
            cpu_seconds=time.process_time() - cpu + module.cpu_seconds_elsewhere,
            engine=module.engine.name,
            reason=module.reason,
            device=str(where),
        )


def _stopped(job: Job, reasons: Mapping[str, str]) -> tuple[Curve, ...]:
    return tuple(
        Curve(name, job.seed, (), math.nan, stopped=reason) for name, reason in reasons.items()
    )


def _nothing_trained(
    job: Job, stopped: Mapping[str, str], device: torch.device, wall: float, cpu: float
) -> CohortResult:
    """The result of a job none of whose candidates can learn."""
    return CohortResult(
        curves=_stopped(job, stopped),
        wall_seconds=time.perf_counter() - wall,
        cpu_seconds=time.process_time() - cpu,
        engine="none",
        reason="no candidate can learn",
        device=str(device),
    )


def _test_only(
    job: Job,
    members: Sequence[nn.Module],
    data: ImageData,
    trainer: Trainer,
    wall: float,
    cpu: float,
) -> CohortResult:
    """Score on the test set what an earlier job left, without a step more."""
    settings = TrainerSettings.from_mapping(job.trainer)
    states = [State.load(job.state_in[candidate.name]) for candidate in job.candidates]
    device = trainer.strategy.root_device
    for member, state in zip(members, states, strict=True):
        trainer.precision_plugin.convert_module(member).to(device)
        member.load_state_dict(state.model)
    inputs = InputSettings.asked(settings, next(members[0].parameters()).dtype)
    for member in members:
        inputs.lay_out(member)
    with trainer.precision_plugin.val_step_context():
        scores = score(members, data, data.test_x, data.test_y, inputs, Ranks())
    return CohortResult(
        curves=tuple(
            Curve(candidate.name, job.seed, (), state.initial_loss, False, None, accuracy, loss)
            for candidate, state, (loss, accuracy) in zip(
                job.candidates, states, scores, strict=True
            )
        ),
        wall_seconds=time.perf_counter() - wall,
        cpu_seconds=time.process_time() - cpu,
        engine="none",
        reason="nothing is trained",
        device=str(device),
    )
