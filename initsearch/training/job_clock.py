"""`JobClock`: how long a job took, in its result."""

import time
from collections.abc import Sequence

import torch

from initsearch.training.job import CohortResult, Curve


class JobClock:
    """Wall and processor time of a job, from when it is made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def result(
        self,
        curves: Sequence[Curve],
        engine: str,
        reason: str,
        device: torch.device | str,
        cpu_seconds_elsewhere: float = 0.0,
    ) -> CohortResult:
        """The result of the job that ends now."""
        return CohortResult(
            curves=tuple(curves),
            wall_seconds=time.perf_counter() - self._wall,
            cpu_seconds=time.process_time() - self._cpu + cpu_seconds_elsewhere,
            engine=engine,
            reason=reason,
            device=str(device),
        )
