"""The search's work: who is trained when, with whom, and that soft signs change no more than that."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from simulated_jobs import simulate
from study_runs import Listener, Trained, folder, numbers, run, settings

from initsearch.search.pruning import moves, sign_of
from initsearch.search.settings import FIRST_RACE_BLOCK
from initsearch.training import CohortResult, Job, TrainJob, run_job

pytestmark = pytest.mark.slow

#: Winners that every gradient-based sign condemns: all of them start without a signal.
ZERO_STARTS = {
    "zero_first": {
        "rules": [
            {"where": {"role": "first"}, "weight": "zeros"},
            {"weight": {"name": "normal", "std": 1.0}, "bias": "zeros"},
        ]
    },
    "zero_head": {
        "rules": [
            {"where": {"role": "head"}, "weight": "zeros"},
            {"weight": "glorot_uniform", "bias": "zeros"},
        ]
    },
}


def searched(jobs: Sequence[Job]) -> list[TrainJob]:
    """The search's own jobs, without those of the race."""
    return [j for j in jobs if isinstance(j, TrainJob) and j.seed < FIRST_RACE_BLOCK]


def test_candidates_that_learn_are_trained_before_those_that_do_not_yet(tmp_path) -> None:
    def slow_start(job: Job) -> CohortResult:
        """Every second candidate stands at the loss of a guess after the probe."""
        result = simulate(job)
        losses = {f"he_normal lr={rate:g}": 2.31 for rate in (0.01, 0.03)}
        return replace(
            result,
            curves=tuple(
                replace(curve, last_loss=losses.get(curve.candidate, 1.5 + i / 10))
                for i, curve in enumerate(result.curves)
            ),
        )

    trained = Trained(slow_start)
    space = {
        "plans": {"lecun": "lecun_normal", "orthogonal": "orthogonal"},
        "lr": [0.01, 0.03, 0.1, 0.3],
    }
    search = {"cohort_size": 8, "reserve": 0}  # nothing is measured before the first rung
    few = {"n_trials": 8, "search": search, "baselines": {"he_normal": "he_normal"}}
    listener = Listener()
    verdict = trained.run(settings(tmp_path, space=space, **few), listener)
    probe, *rungs = searched(trained.jobs)
    assert (probe.seed, len(probe.candidates)) == (0, 8)
    assert (probe.stop_epoch, probe.points) == (2 / 8, ())
    first = [job for job in rungs if job.stop_epoch == 0.5]
    names = [[candidate.name for candidate in job.candidates] for job in first]
    # On each block those that learn, then the others; all of them are trained.
    still = ["he_normal lr=0.01", "he_normal lr=0.03"]
    assert names[2:] == [still, still]
    assert names[0] == names[1]
    assert sorted(names[0] + still) == sorted(c.name for c in probe.candidates)
    assert [job.seed for job in first] == [0, 1, 0, 1]
    # And it is on record.
    rows = {row.name: row for row in verdict.evidence.search}
    reported = {
        name: [m.value for m in measured if m.key == "probe_loss/seed_0"]
        for name, measured in listener.heard("measure")
        if measured[0].key == "probe_loss/seed_0"
    }
    for name, row in rows.items():
        assert reported[name] == [row.probe_loss]
        assert row.sign.startswith(
            "no better than a guess yet: loss 2.3 to 2.31" if name in still else "learning: loss"
        )
        assert row.status == "complete" or "behind the others" in row.reason


@pytest.mark.parametrize("loss", [2.31, math.log(10), 2.25])
def test_a_loss_near_that_of_a_guess_has_not_moved(loss: float) -> None:
    assert not moves(loss, math.log(10))
    sign = sign_of(loss, 7.4, math.log(10), 20)
    assert sign.startswith("no better than a guess yet: loss 7.4 to")


def test_where_no_guess_is_known_a_sign_claims_nothing() -> None:
    assert sign_of(0.5, 0.7, None, 20) == "loss 0.7 to 0.5 in 20 steps"


def test_a_probe_changes_no_score(tmp_path) -> None:
    """Trained in one piece, or a few steps first: the same curves, so the same verdict."""
    verdicts = []
    for steps in (0, 2):
        asked = settings(tmp_path / str(steps), n_trials=5, search={"probe_steps": steps})
        plain = numbers(run(asked))
        for row in plain["evidence"]["search"]:
            assert bool(row.pop("sign")) == bool(row.pop("probe_loss")) or row["name"] == "zeros"
        for of_the_settings in ("request", "race_request", "races"):
            del plain["evidence"][of_the_settings]
        verdicts.append(plain)
    assert verdicts[0] == verdicts[1]


def test_training_losses_are_those_of_one_piece(tmp_path) -> None:
    """The means over the steps since the last point count the steps of the probe."""
    reported: list[dict[tuple[str, str, int], float]] = []
    for steps in (0, 2):
        listener = Listener()
        run(settings(tmp_path / str(steps), n_trials=3, search={"probe_steps": steps}), listener)
        reported.append(
            {
                (name, m.key, m.step): m.value
                for name, measured in listener.heard("measure")
                for m in measured
                if not m.key.startswith("probe_loss")
            }
        )
    assert reported[0] == pytest.approx(reported[1], nan_ok=True, rel=1e-12)


def test_points_within_the_probe_are_measured(tmp_path) -> None:
    """Every block has the same points, whether a probe ran on it or not."""
    asked = {"metric": "learning_curve_area", "evaluations_per_epoch": 8, "n_trials": 3}
    listener = Listener()
    run(settings(tmp_path, **asked), listener)
    steps: dict[str, list[int]] = {"val_loss/seed_0": [], "val_loss/seed_1": []}
    for name, measured in listener.heard("measure"):
        for m in measured:
            if name == "torch_default" and m.key in steps:
                steps[m.key].append(m.step)
    for seen in steps.values():
        assert sorted(set(seen)) == list(range(1, 17))


@pytest.mark.parametrize("activation", ["tanh", "sigmoid"])
def test_starts_without_a_signal_are_not_lost(tmp_path, activation: str) -> None:
    """A layer without a gradient, equal logits, a loss that does not move: they can be trained."""
    trained = Trained(run_job)
    asked: dict[str, Any] = {
        "model": {"name": "mlp", "depth": 1, "width": 16, "activation": activation},
        "space": {"plans": ZERO_STARTS},
        "n_trials": 3,
        "baselines": {"torch_default": "torch_default"},
    }
    verdict = trained.run(settings(tmp_path, **asked))
    rows = {row.name: row for row in verdict.evidence.search}
    rung = [name for name, _, stop, _ in trained.pieces if stop == 0.5]
    for name in ZERO_STARTS:
        assert rung.count(name) == 2
        assert not rows[name].reason.startswith("cannot learn")


def test_free_slots_are_filled_by_the_survivors_of_other_cohorts(tmp_path) -> None:
    """About 2 of 4 candidates pass a rung: the survivors of two cohorts make one whole cohort."""
    trained = Trained(simulate)
    asked = settings(tmp_path, n_trials=32, search={"sampler": "random", "seeds": 1})
    trained.run(asked, Listener())
    jobs = searched(trained.jobs)
    after_first = [len(job.candidates) for job in jobs if job.stop_epoch == 1.0]
    assert len(after_first) > 2
    # All are whole but the last one.
    assert set(after_first[:-1]) == {4}
    assert 1 <= after_first[-1] <= 4
    mixed = {
        candidate.name: number
        for number, job in enumerate(j for j in jobs if j.stop_epoch == 0.5)
        for candidate in job.candidates
    }
    whole = next(job for job in jobs if job.stop_epoch == 1.0)
    assert len({mixed[candidate.name] for candidate in whole.candidates}) > 1
    assert not (folder(asked) / "states").exists()


def test_the_last_twin_of_an_ended_candidate_ends(tmp_path) -> None:
    """One cohort at a time, and a space of few plans: the last trial repeats one that is complete."""
    trained = Trained(simulate)
    search = {"sampler": "random", "pruner": "none", "open_cohorts": 1, "cohort_size": 4}
    space = {"plans": {"lecun": "lecun_normal"}}
    verdict = trained.run(settings(tmp_path, space=space, search=search, n_trials=5))
    last = verdict.evidence.search[-1]
    assert (last.status, last.reason) == ("complete", "same as trial 3")


@pytest.mark.parametrize("workers", [2, 8])
def test_a_loop_s_cohorts_are_cut_so_that_all_workers_have_work(tmp_path, workers: int) -> None:
    few = {"n_trials": 8, "search": {"cohort_size": 8}}
    sizes, verdicts = {}, {}
    for count in (1, workers):
        trained = Trained(simulate)
        asked = settings(tmp_path / str(count), workers=count, **few)
        verdicts[count] = numbers(trained.run(asked))
        sizes[count] = max(len(job.candidates) for job in trained.jobs)
    assert sizes[1] == 8
    assert sizes[workers] == 8 / max(1, workers // 2)
    assert verdicts[1] == verdicts[workers]
