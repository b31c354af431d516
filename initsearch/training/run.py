"""`run_train_job` and `run_test_job`: a job from its description to its result, in the calling process."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import compress
from pathlib import Path

import torch
from lightning.pytorch import Trainer

from initsearch.errors import ConfigError
from initsearch.execution import own_device
from initsearch.random_state import isolated_random_state
from initsearch.tasks.base import Block
from initsearch.tasks.quiet_fit import fit, quiet
from initsearch.training.checkpoint import Checkpoint
from initsearch.training.cohort import CohortModule
from initsearch.training.inputs import batch_format, lay_out
from initsearch.training.job import Candidate, CohortResult, Curve, Job, TestJob, TrainJob
from initsearch.training.job_clock import JobClock
from initsearch.training.lightning_run import make_trainer, one_thread
from initsearch.training.measure import measure
from initsearch.training.members import build_members
from initsearch.training.screening import screened


def run_train_job(job: TrainJob) -> CohortResult:
    """Train a cohort and measure it.

    The result is a function of the job alone: neither the process, the other candidates nor the global
    random state (left as it was) affect it.

    Args:
        job: What is asked.

    Raises:
        ConfigError: A setting breaks a rule.
        DataError: The data set is missing or damaged.
        ModelError: The model cannot be built, initialized or trained.
        KeyboardInterrupt: Ctrl-C was pressed; nothing is left half-written.
    """
    clock = JobClock()
    with _training_on(job) as (trainer, device):
        block = job.cohort_task.open(job.seed, device)
        members = build_members(job, block)
        screening = job.screen and job.start_epoch == 0
        reasons = screened(job.candidates, members, block) if screening else {}
        stopped = [
            Curve(name, job.seed, (), math.nan, stopped=why) for name, why in reasons.items()
        ]
        alive = [candidate.name not in reasons for candidate in job.candidates]
        if not any(alive):
            return clock.result(stopped, "none", "no candidate can learn", device)
        part = job.part(list(compress(job.candidates, alive)))
        module = CohortModule(part, list(compress(members, alive)), block)
        fit(trainer, module)
        curves = _in_order(job.candidates, [*module.curves(), *stopped])
        elsewhere = module.cpu_seconds_elsewhere
        return clock.result(curves, module.engine.name, module.reason, device, elsewhere)


def run_test_job(job: TestJob) -> CohortResult:
    """Score trained candidates on the test set.

    Candidates whose checkpoints are gone are trained again, which gives the same scores.

    Args:
        job: What is asked.

    Raises:
        ConfigError, DataError, ModelError, KeyboardInterrupt: As in `run_train_job`.
    """
    clock = JobClock()
    kept = [c for c in job.candidates if c.name in job.states and Path(job.states[c.name]).exists()]
    gone = [candidate for candidate in job.candidates if candidate not in kept]
    with _training_on(job) as (trainer, device):
        block = job.cohort_task.open(job.seed, device)
        curves = _test_kept(job.part(kept), block, trainer) if kept else []
        if not gone:
            return clock.result(curves, "none", "nothing is trained", device)
        again = TrainJob(
            task=job.task,
            trainer=job.trainer,
            candidates=tuple(gone),
            seed=job.seed,
            stop_epoch=job.epochs,
            eval_epochs=(),
        )
        module = CohortModule(again, build_members(again, block), block, test=True)
        fit(trainer, module)
        curves = _in_order(job.candidates, [*curves, *module.curves()])
        elsewhere = module.cpu_seconds_elsewhere
        return clock.result(curves, module.engine.name, module.reason, device, elsewhere)


def _test_kept(job: TestJob, block: Block, trainer: Trainer) -> list[Curve]:
    """Scores of candidates on the test set by their checkpoints, without a training step."""
    states = [Checkpoint.load(job.states[candidate.name]) for candidate in job.candidates]
    members = build_members(job, block)
    for member, state in zip(members, states, strict=True):
        trainer.precision_plugin.convert_module(member).to(trainer.strategy.root_device)
        member.load_state_dict(state.model)
    form = batch_format(job.trainer, members)
    lay_out(members, form)
    with trainer.precision_plugin.val_step_context():
        scores = measure(members, block, "test", form, bf16=job.trainer.autocast == "bf16")
    return [
        Curve(candidate.name, job.seed, (), state.initial_loss, test=tested)
        for candidate, state, tested in zip(job.candidates, states, scores, strict=True)
    ]


@contextmanager
def _training_on(job: Job) -> Iterator[tuple[Trainer, torch.device]]:
    """A quiet Trainer on this process's device; the global random state is put back in the end."""
    settings = job.trainer
    if settings.distributed and len(job.candidates) > 1:
        raise ConfigError(
            f"a job over several processes (trainer.strategy={settings.strategy}, "
            f"{settings.device_count} devices) must have one candidate, "
            f"but got {len(job.candidates)}: give each candidate a job of its own"
        )
    with quiet():
        trainer = make_trainer(settings, own_device())
        device = trainer.strategy.root_device
        with one_thread(device), isolated_random_state(devices=[device]):
            yield trainer, device


def _in_order(candidates: Sequence[Candidate], curves: Sequence[Curve]) -> list[Curve]:
    """One curve per candidate, in the candidates' order."""
    by_name = {curve.candidate: curve for curve in curves}
    return [by_name[candidate.name] for candidate in candidates]
