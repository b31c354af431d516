"""What a coordinator has other processes do; also a script, for `ddp`.

`python -m initsearch.training.worker JOB.json RESULT.json` runs one job whose training spreads over
processes. Lightning starts the other ranks by the same command, so that they re-run this job and
nothing else.

Imports nothing heavy: a coordinator hands in these functions, and need not load Lightning for it.
"""

import argparse
import json
import sys
from pathlib import Path

from initsearch.errors import InitSearchError
from initsearch.files import write_whole
from initsearch.training.choice import EngineChoice
from initsearch.training.job import CohortResult, Job
from initsearch.training.process import die_with, keep_freed_memory


def run_job(job: Job) -> CohortResult:
    """Train a cohort and measure it; see `run.train_cohort`."""
    from initsearch.training.run import train_cohort

    return train_cohort(job)


def probe_engines(job: Job, largest: int, processes: int) -> EngineChoice:
    """Time the ways to train a job's candidates, and choose; see `probe.choose_engine`.

    Args:
        job: Any job of the study.
        largest: Candidates in its largest cohort.
        processes: That share the memory of this machine or GPU.
    """
    from initsearch.training.probe import COHORT_SIZES, choose_engine

    return choose_engine(job, [size for size in COHORT_SIZES if size <= largest], None, processes)


def main() -> int:
    """Run the job of a file and, on rank 0, write what came of it; the exit status."""
    parser = argparse.ArgumentParser(description="Run one training job from a file.")
    parser.add_argument("job", type=Path)
    parser.add_argument("result", type=Path)
    parser.add_argument("--lifeline", action="store_true", help="end when standard input is closed")
    arguments = parser.parse_args()
    if arguments.lifeline:
        die_with(sys.stdin.fileno())
    keep_freed_memory()
    from lightning.fabric.utilities.rank_zero import rank_zero_only

    try:
        job = Job.from_json(json.loads(arguments.job.read_text(encoding="utf-8")))
        answer = {"result": run_job(job).to_json()}
    except InitSearchError as error:
        answer = {"error": {"type": type(error).__name__, "message": str(error)}}
    rank_zero_only(write_whole)(arguments.result, json.dumps(answer))
    return int("error" in answer)


if __name__ == "__main__":
    sys.exit(main())
