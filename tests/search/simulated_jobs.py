"""Training made up from a hash: what a job answers in no time, as repeatable as the real thing."""

import hashlib
import json
import math
from pathlib import Path

import torch

from initsearch.training import Candidate, CohortResult, Curve, Job, Point, TestJob, TrainJob

STEPS_PER_EPOCH = 8


def simulate(job: Job) -> CohortResult:
    """Curves that rise to each candidate's own height; some candidates diverge on their way."""
    return CohortResult(
        curves=tuple(_curve(job, candidate) for candidate in job.candidates),
        wall_seconds=0.0,
        cpu_seconds=1.0,
        engine="loop",
        reason="made up",
        device="cpu",
    )


def _curve(job: Job, candidate: Candidate) -> Curve:
    height = _share("a", candidate.plan, candidate.lr)
    if isinstance(job, TestJob):
        test = {"test_accuracy": height, "test_loss": 1.0 - height}
        return Curve(candidate.name, job.seed, (), 2.3, test=test, last_loss=2.4 - height)
    assert isinstance(job, TrainJob)
    if job.start_epoch > 0:
        assert Path(job.states[candidate.name]).exists()
    luck = _share(candidate.plan, candidate.lr, job.seed) / 20 + _share(job.seed) / 10
    bursts_at = 1.5 if height < 0.1 else math.inf
    points = [
        Point(
            epoch,
            math.ceil(epoch * STEPS_PER_EPOCH),
            1.0,
            {"val_accuracy": height + luck - 0.1 / epoch, "val_loss": 1.0 - height},
        )
        for epoch in job.points
        if epoch < bursts_at
    ]
    diverged = job.stop_epoch >= bursts_at
    state = None
    if job.state_dir is not None and not diverged:
        file = Path(job.state_dir) / f"{_share(candidate.name, job.seed, job.stop_epoch)}.pt"
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.save({}, file)  # a damaged file would not count as a state
        state = str(file)
    return Curve(
        candidate=candidate.name,
        seed=job.seed,
        points=tuple(points),
        initial_loss=2.3,
        diverged=diverged,
        diverged_at=12 if diverged else None,
        state=state,
        last_loss=2.4 - height,
    )


def _share(*parts: object) -> float:
    """A number in [0, 1) that is a function of its arguments."""
    text = json.dumps(parts, sort_keys=True)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "little") / 2**48
