"""`run_job` as a whole: what it shares, what it refuses, what it leaves behind, and how it is interrupted."""

import json
import re
import signal
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_jobs import HE, TRIO, make_job, read_state

from initsearch.errors import ConfigError, DataError, InitSearchError
from initsearch.training.job import Candidate, CohortResult, Curve, Job, Point
from initsearch.training.streams import BatchStream, derive_seed, step_at
from initsearch.training.worker import run_job


def test_an_epochs_order_is_a_function_of_seed_and_epoch() -> None:
    pool = torch.arange(1000, 1100)
    stream = BatchStream(pool, 7, 32, 0, 9)
    batches = dict(stream)
    assert list(batches) == list(range(9))
    for epoch in range(3):
        seen = Counter(torch.cat([batches[3 * epoch + i] for i in range(3)]).tolist())
        assert set(seen.values()) == {1}
        assert set(seen) <= set(pool.tolist())
    assert not torch.equal(batches[0], batches[3])
    assert not torch.equal(batches[0], dict(BatchStream(pool, 8, 32, 0, 1))[0])
    for step, index in BatchStream(pool, 7, 32, 4, 8):
        assert torch.equal(index, batches[step])


def test_seeds_of_different_purposes_differ() -> None:
    seeds = {
        derive_seed(p, a, b) for p in ("order", "dropout") for a in range(20) for b in range(20)
    }
    assert len(seeds) == 800
    assert derive_seed("order", 1, 23) != derive_seed("order", 12, 3)


@pytest.mark.parametrize(
    ("epoch", "step"), [(0, 0), (0.1, 1), (0.3, 3), (0.31, 4), (1e-4, 1), (3, 30)]
)
def test_fractions_of_an_epoch_round_up_to_steps(epoch: float, step: int) -> None:
    assert step_at(epoch, 10) == step


def test_jobs_and_results_survive_json() -> None:
    job = make_job(eval_epochs=(0.5, 1.0), state_dir="states", test=True)
    assert Job.from_json(json.loads(json.dumps(job.to_json()))) == job
    curve = Curve("a", 3, (Point(0.5, 5, 1.0, 2.0, 0.5),), float("inf"), True, 7)
    result = CohortResult((curve,), 1.0, 2.0, "loop", "asked for", "cpu")
    assert CohortResult.from_json(json.loads(json.dumps(result.to_json()))) == result


def test_it_leaves_no_litter_no_words_and_no_changed_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    torch.set_num_threads(2)
    try:
        run_job(make_job(model={"_target_": "engine_nets.DropNet"}))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert torch.equal(torch.get_rng_state(), before)
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_global_random_state_does_not_enter_the_result() -> None:
    job = make_job(model={"_target_": "engine_nets.DropNet"})
    torch.manual_seed(1)
    first = run_job(job).curves
    torch.manual_seed(2)
    assert run_job(job).curves == first


def test_blocks_differ() -> None:
    one, other = (run_job(make_job(seed=seed)).curves[0] for seed in (1, 2))
    assert one.initial_loss != other.initial_loss


def test_the_test_set_is_scored_only_when_asked_for() -> None:
    untouched, touched = (run_job(make_job(test=test)).curves[0] for test in (False, True))
    assert (untouched.test_accuracy, untouched.test_loss) == (None, None)
    assert touched.test_accuracy is not None
    assert 0.0 < touched.test_accuracy <= 1.0
    assert replace(touched, test_accuracy=None, test_loss=None) == untouched


def test_times_and_places_are_told() -> None:
    result = run_job(make_job())
    assert (result.engine, result.device) == ("loop", "cpu")
    assert result.wall_seconds > 0
    assert result.cpu_seconds > 0
    assert run_job(make_job(trainer={})).reason == "trainer.engine=auto, and no probe has chosen"


@pytest.mark.parametrize("engine", ["loop", "stacked"])
def test_ctrl_c_gets_out(engine: str) -> None:
    """Lightning makes a SystemExit of it and leaves SIGINT ignored."""
    handler = signal.getsignal(signal.SIGINT)
    job = make_job(model={"_target_": "engine_nets.InterruptedNet"}, trainer={"engine": engine})
    with pytest.raises(KeyboardInterrupt):
        run_job(job)
    assert signal.getsignal(signal.SIGINT) is handler


def refusal(**changes: Any) -> str:
    with pytest.raises(InitSearchError) as caught:
        run_job(make_job(**changes))
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("optimizer", "says"),
    [
        ({"name": "sdg"}, "unknown optimizer 'sdg': did you mean sgd?"),
        (
            {"name": "torch.optim.Nope"},
            "optimizer 'torch.optim.Nope': module 'torch.optim' has no 'Nope'",
        ),
        ({"name": None}, "optimizer.name must be a name or .* but got None: try sgd"),
        ({"name": ["sgd"]}, "optimizer.name must be a name or .* but got \\['sgd'\\]: try sgd"),
        ({"name": "torch.nn.Linear"}, "must be a torch.optim.Optimizer"),
        ({"name": "sgd", "momentun": 0.9}, "optimizer 'sgd': .*unexpected keyword.*momentun"),
        ({"name": "adam", "betas": [2.0, 0.9]}, "optimizer 'adam': Invalid beta"),
        ({"name": "sgd", "lr": 0.1}, "learning rate is each candidate's own"),
        (
            {"name": "sgd", "batch_size": 0},
            "optimizer.batch_size must be an integer >= 1, but got 0",
        ),
        ({"name": "sgd", "batch_size": 321}, "batch_size must be at most the 320 training images"),
        ({"name": "sgd", "clip_norm": 0}, "optimizer.clip_norm must be above 0 or null, but got 0"),
    ],
)
def test_a_bad_optimizer_is_one_line(optimizer: dict[str, Any], says: str) -> None:
    assert re.search(says, refusal(optimizer={"batch_size": 32, **optimizer}))


@pytest.mark.parametrize(
    ("trainer", "says"),
    [
        ({"engine": "fast"}, "unknown trainer.engine 'fast'"),
        ({"presicion": "32"}, "unknown trainer setting 'presicion': did you mean precision"),
        ({"autocast": "fp8"}, "unknown trainer.autocast 'fp8'"),
        ({"channels_last": "yes"}, "channels_last must be true, false or auto, but got 'yes'"),
        ({"strategy": "fsdp"}, "unknown trainer.strategy 'fsdp'"),
        ({"precision": "16-mixed"}, "use bf16-mixed"),
        ({"precision": "31"}, "trainer settings"),
        ({"accelerator": "abacus"}, "trainer settings"),
        ({"devices": "two"}, "trainer.devices must be a number, a list or auto, but got 'two'"),
        ({"strategy": "ddp", "devices": 2}, "must have one candidate, but got 3"),
    ],
)
def test_a_bad_trainer_is_one_line(trainer: dict[str, Any], says: str) -> None:
    assert says in refusal(trainer=trainer)


def test_other_bad_input_is_one_line(tmp_path: Path) -> None:
    assert "class scores of shape" in refusal(model={"_target_": "engine_nets.PairNet"})
    assert "unknown model" in refusal(model={"name": "mpl"})
    missing = {candidate.name: str(tmp_path / "gone.pt") for candidate in TRIO}
    assert "does not exist" in refusal(state_in=missing, start_epoch=1.0)
    assert "an epoch has 10 steps" in refusal(
        state_in=missing, start_epoch=1.01, stop_epoch=1.02, eval_epochs=()
    )
    with pytest.raises(DataError):
        run_job(make_job(data={"name": "mnist", "root": str(tmp_path), "download": False}))


def test_a_state_of_another_step_is_refused(tmp_path: Path) -> None:
    half = make_job(candidates=TRIO[:1], stop_epoch=1.0, state_dir=str(tmp_path))
    state = str(run_job(half).curves[0].state)
    assert read_state(state)["step"] == 10
    message = refusal(candidates=TRIO[:1], start_epoch=1.5, state_in={"he": state})
    assert "stands at step 10, but the job goes on from step 15" in message


@pytest.mark.parametrize(
    "change",
    [
        {"candidates": ()},
        {"candidates": (TRIO[0], TRIO[0])},
        {"stop_epoch": 0.0},
        {"stop_epoch": float("nan")},
        {"start_epoch": 2.0},
        {"eval_epochs": (0.0,)},
        {"eval_epochs": (2.5,)},
        {"start_epoch": 1.0},
        {"state_in": {"somebody": "x.pt"}},
    ],
    ids=str,
)
def test_a_job_that_cannot_be_is_refused_at_once(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        make_job(**change)


@pytest.mark.parametrize("lr", [0, -1.0, float("nan"), float("inf"), "0.1"])
def test_a_rate_must_be_above_zero(lr: Any) -> None:
    with pytest.raises(ConfigError, match="lr of candidate 'a' must be above 0"):
        Candidate("a", HE, lr)
