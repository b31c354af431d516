"""`run_job` as a whole: what it shares, what it refuses, what it leaves behind, and how it is interrupted."""

import json
import pickle
import re
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_jobs import DATA, HE, MLP, TRIO, as_test, make_job, make_task, make_trainer, read_state

from initsearch.errors import ConfigError, DataError, InitSearchError
from initsearch.tasks.streams import batch_order, derive_seed, step_at
from initsearch.training import Candidate, CohortResult, Curve, Job, Point, run_job


def test_an_epochs_order_is_a_function_of_seed_and_epoch() -> None:
    pool = torch.arange(1000, 1100)
    batches = list(batch_order(pool, 7, 32, 0, 9))
    assert len(batches) == 9
    for epoch in range(3):
        seen = Counter(torch.cat([batches[3 * epoch + i] for i in range(3)]).tolist())
        assert set(seen.values()) == {1}
        assert set(seen) <= set(pool.tolist())
    assert not torch.equal(batches[0], batches[3])
    assert not torch.equal(batches[0], next(batch_order(pool, 8, 32, 0, 1)))
    for step, index in enumerate(batch_order(pool, 7, 32, 4, 8), 4):
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


def test_jobs_survive_pickle_and_results_json() -> None:
    job = make_job(eval_epochs=(0.5, 1.0), state_dir="states")
    for each in (job, as_test(job)):
        assert pickle.loads(pickle.dumps(each)) == each
    scores = {"val_accuracy": 0.5, "val_loss": 2.0}
    curve = Curve("a", 3, (Point(0.5, 5, 1.0, scores),), float("inf"), True, 7)
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
    untouched, touched = (run_job(job).curves[0] for job in (make_job(), as_test(make_job())))
    assert untouched.test is None
    assert set(touched.test) == {"test_accuracy", "test_loss"}
    assert 0.0 < touched.test["test_accuracy"] <= 1.0
    assert replace(touched, test=None) == replace(untouched, points=())


def test_times_and_places_are_reported() -> None:
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
        ({"name": "sgd", "momentun": 0.9}, "optimizer 'sgd' .*unexpected keyword.*momentun"),
        ({"name": "adam", "betas": [2.0, 0.9]}, "optimizer 'adam' .*Invalid beta"),
        ({"name": "sgd", "lr": -0.1}, "optimizer.lr must be greater than 0, but got -0.1"),
        (
            {"name": "sgd", "batch_size": 0},
            "optimizer.batch_size must be greater than or equal to 1, but got 0",
        ),
        (
            {"name": "sgd", "batch_size": True},
            "optimizer.batch_size must be .* integer, but got True",
        ),
        (
            {"name": "sgd", "batch_size": 321},
            "batch_size must be at most the 320 training examples",
        ),
        ({"name": "sgd", "clip_norm": 0}, "optimizer.clip_norm must be greater than 0, but got 0"),
    ],
)
def test_a_bad_optimizer_is_one_line(optimizer: dict[str, Any], says: str) -> None:
    assert re.search(says, refusal(optimizer={"batch_size": 32, **optimizer}))


@pytest.mark.parametrize(
    ("trainer", "says"),
    [
        ({"engine": "fast"}, "unknown trainer.engine 'fast'"),
        ({"presicion": "32"}, "unknown setting of trainer 'presicion': did you mean precision"),
        ({"autocast": "fp8"}, "unknown trainer.autocast 'fp8'"),
        ({"channels_last": "yes"}, "channels_last must be true, false or auto, but got 'yes'"),
        ({"strategy": "fsdp"}, "unknown trainer.strategy 'fsdp'"),
        ({"precision": "16-mixed"}, "use bf16-mixed"),
        ({"precision": "31"}, "unknown trainer.precision '31'"),
        ({"accelerator": "abacus"}, "unknown trainer.accelerator 'abacus'"),
        (
            {"devices": "two"},
            "trainer.devices must be a number from 1 up, a list of numbers, or auto",
        ),
        ({"strategy": "ddp", "devices": 2}, "must have one candidate, but got 3"),
    ],
)
def test_a_bad_trainer_is_one_line(trainer: dict[str, Any], says: str) -> None:
    assert says in refusal(trainer=trainer)


def test_other_bad_input_is_one_line(tmp_path: Path) -> None:
    assert "class scores of shape" in refusal(model={"_target_": "engine_nets.PairNet"})
    assert "unknown model" in refusal(model={"name": "mpl"})
    missing = {candidate.name: str(tmp_path / "gone.pt") for candidate in TRIO}
    assert "does not exist" in refusal(states=missing, start_epoch=1.0)
    assert "an epoch has 10 steps" in refusal(
        states=missing, start_epoch=1.01, stop_epoch=1.02, eval_epochs=()
    )
    with pytest.raises(DataError):
        run_job(make_job(data={"name": "mnist", "root": str(tmp_path), "download": False}))


def test_a_state_of_another_step_is_refused(tmp_path: Path) -> None:
    half = make_job(candidates=TRIO[:1], stop_epoch=1.0, state_dir=str(tmp_path))
    state = str(run_job(half).curves[0].state)
    assert read_state(state)["step"] == 10
    message = refusal(candidates=TRIO[:1], start_epoch=1.5, states={"he": state})
    assert "is of step 10, but the job resumes at step 15" in message


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
        {"states": {"somebody": "x.pt"}},
    ],
    ids=str,
)
def test_a_job_that_cannot_be_is_refused_at_once(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        make_job(**change)


@pytest.mark.parametrize("epochs", [0.0, -1.0, float("inf"), float("nan")])
def test_a_test_is_of_candidates_that_were_trained(epochs: float) -> None:
    with pytest.raises(ConfigError, match="epochs must be finite and above 0"):
        as_test(make_job(), epochs=epochs)


def test_a_candidate_whose_state_is_gone_is_trained_again_for_its_test(tmp_path: Path) -> None:
    job = make_job(state_dir=str(tmp_path))
    states = {curve.candidate: str(curve.state) for curve in run_job(job).curves}
    whole = run_job(as_test(job, states=states))
    assert (whole.engine, whole.reason) == ("none", "nothing is trained")
    Path(states["small"]).unlink()
    del states["lecun"]
    parts = run_job(as_test(job, states=states))
    assert parts.engine == "loop"
    assert [curve.test for curve in parts.curves] == [curve.test for curve in whole.curves]
    assert [curve.candidate for curve in parts.curves] == ["he", "small", "lecun"]


OTHER_TASKS = {
    "data": {"data": {**DATA, "train_size": 310}},
    "model": {"model": {**MLP, "width": 25}},
    "optimizer": {"optimizer": {"name": "sgd", "momentum": 0.8, "batch_size": 32}},
}


@pytest.mark.parametrize("kind", [make_job, lambda **changes: as_test(make_job(**changes))])
def test_keys_are_plain_data_of_all_that_a_result_depends_on(kind: Callable[..., Any]) -> None:
    def key(**changes: Any) -> str:
        return json.dumps(kind(**changes).key(TRIO[0]), sort_keys=True)

    own = key()
    assert own == key()
    assert own == key(candidates=TRIO[:1])
    assert own == key(trainer={"engine": "loop", "devices": 1})
    others = [key(**other) for other in OTHER_TASKS.values()]
    others += [key(seed=4), key(stop_epoch=1.0), key(trainer={"precision": "64-true"})]
    assert len({own, *others}) == 7
    stacked = [key(trainer={"engine": "stacked"}, candidates=trio) for trio in (TRIO, TRIO[:1])]
    assert len({own, *stacked}) == 3


def test_a_learning_rate_of_the_settings_does_not_count_but_the_candidates_own() -> None:
    job = make_job()
    other = make_job(optimizer={"name": "sgd", "momentum": 0.9, "batch_size": 32, "lr": 3.0})
    assert job.key(TRIO[0]) == other.key(TRIO[0])
    assert job.key(TRIO[0]) != job.key(replace(TRIO[0], lr=0.2))
    assert run_job(job).curves == run_job(other).curves


def test_a_job_of_another_kind_is_refused() -> None:
    with pytest.raises(TypeError, match="TrainJob or a TestJob"):
        run_job(Job(task=make_task(), trainer=make_trainer(), candidates=TRIO, seed=0))


@pytest.mark.parametrize("lr", [0, -1.0, float("nan"), float("inf"), "0.1"])
def test_a_rate_must_be_above_zero(lr: Any) -> None:
    with pytest.raises(ConfigError, match="lr of candidate 'a' must be above 0"):
        Candidate("a", HE, lr)
