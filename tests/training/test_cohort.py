"""The engines against a plain PyTorch loop over each candidate alone."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_jobs import (
    HE,
    MLP,
    PER_EPOCH,
    TRIO,
    as_images,
    as_test,
    make_job,
    make_trainer,
    read_state,
    train_plainly,
)
from torch.nn import functional as F

from initsearch.tasks.data import load_data, split
from initsearch.training import Candidate, Curve, TrainJob, run_job
from initsearch.training.cohort import CohortModule

OPTIMIZERS: dict[str, dict[str, Any]] = {
    "sgd": {"name": "sgd", "momentum": 0.9},
    "nesterov": {"name": "sgd", "momentum": 0.9, "nesterov": True, "weight_decay": 1e-2},
    "adam": {"name": "adam", "weight_decay": 1e-2},
    "adamw": {"name": "adamw", "weight_decay": 1e-1, "amsgrad": True},
    "rmsprop": {"name": "rmsprop", "centered": True},
    "nadam": {"name": "nadam"},
    "clipped": {"name": "sgd", "momentum": 0.9, "clip_norm": 0.3},
}
NORM_NET = {"_target_": "engine_nets.NormNet"}
DROP_NET = {"_target_": "engine_nets.DropNet"}
FLOAT64 = {"precision": "64-true"}
# Twenty steps apart by rounding only: float64 to 1e-10, float32 to 1e-4 of the largest weight.
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4}


def curves_of(job: TrainJob) -> dict[str, Curve]:
    return {curve.candidate: curve for curve in run_job(job).curves}


def rates(lr: float) -> tuple[Candidate, ...]:
    return tuple(replace(candidate, lr=candidate.lr * lr) for candidate in TRIO)


def optimizer_of(key: str) -> dict[str, Any]:
    return {"batch_size": 32, **OPTIMIZERS[key]}


@pytest.mark.parametrize("key", OPTIMIZERS)
@pytest.mark.parametrize("model", [MLP, NORM_NET], ids=["mlp", "norm"])
def test_loop_is_bit_for_bit_a_plain_loop(key: str, model: dict[str, Any], tmp_path: Path) -> None:
    scale = 1.0 if OPTIMIZERS[key]["name"] == "sgd" else 0.02
    job = make_job(
        optimizer=optimizer_of(key), model=model, candidates=rates(scale), state_dir=str(tmp_path)
    )
    for candidate, curve in zip(job.candidates, run_job(job).curves, strict=True):
        alone = train_plainly(job, candidate)
        weights = read_state(curve.state)["model"]
        for name, tensor in alone.model.state_dict().items():
            assert torch.equal(weights[name], tensor), name
        assert curve.initial_loss == alone.losses[0]
        assert curve.points[0].train_loss == pytest.approx(sum(alone.losses) / 20, rel=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("key", OPTIMIZERS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
def test_stacked_follows_a_plain_loop(key: str, dtype: torch.dtype, tmp_path: Path) -> None:
    scale = 1.0 if OPTIMIZERS[key]["name"] == "sgd" else 0.02
    trainer = {"engine": "stacked", **(FLOAT64 if dtype == torch.float64 else {})}
    job = make_job(
        optimizer=optimizer_of(key),
        model=NORM_NET,
        candidates=rates(scale),
        trainer=trainer,
        state_dir=str(tmp_path),
    )
    result = run_job(job)
    assert result.engine == "stacked"
    for candidate, curve in zip(job.candidates, result.curves, strict=True):
        alone = train_plainly(job, candidate, dtype)
        weights = read_state(curve.state)["model"]
        for name, tensor in alone.model.state_dict().items():
            assert weights[name].dtype == tensor.dtype
            difference = (weights[name] - tensor).abs().max() / tensor.abs().max().clamp(min=1)
            assert float(difference) <= TOLERANCE[dtype], name
        assert curve.initial_loss == pytest.approx(alone.losses[0], rel=TOLERANCE[dtype])


@pytest.mark.parametrize("engine", ["loop", "stacked"])
def test_points_are_what_the_weights_score(engine: str, tmp_path: Path) -> None:
    job = make_job(trainer={"engine": engine}, state_dir=str(tmp_path))
    data = load_data(as_images(job).data)
    val = split(data, job.seed, 320, 100).val
    curves = run_job(job).curves
    states = {curve.candidate: str(curve.state) for curve in curves}
    tests = run_job(as_test(job, states=states)).curves
    for candidate, curve, end in zip(job.candidates, curves, tests, strict=True):
        model = train_plainly(job, candidate).model.eval().requires_grad_(False)
        model.load_state_dict(read_state(curve.state)["model"])
        point = curve.points[-1]
        assert (point.epoch, point.step) == (2.0, 20)
        for x, y, loss, accuracy in (
            (
                data.train_x[val],
                data.train_y[val],
                point.scores["val_loss"],
                point.scores["val_accuracy"],
            ),
            (data.test_x, data.test_y, end.test["test_loss"], end.test["test_accuracy"]),
        ):
            scores = model(data.normalize(x))
            assert loss == pytest.approx(float(F.cross_entropy(scores, y)), rel=1e-5)
            assert accuracy == pytest.approx(
                float((scores.argmax(1) == y).double().mean()), abs=1e-12
            )


def test_a_later_test_takes_images_as_the_training_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Contiguous images cost a convolution twice the time, and no number would show it."""
    job = make_job(
        model={"name": "convnet", "depth": 2, "width": 4},
        trainer={"engine": "loop", "channels_last": True},
        candidates=TRIO[:1],
        stop_epoch=0.5,
        state_dir=str(tmp_path),
    )
    (trained,) = run_job(job).curves
    seen = []
    convolve = F.conv2d

    def watch(x: torch.Tensor, weight: torch.Tensor, *rest: Any) -> torch.Tensor:
        last = torch.channels_last
        seen.append(all(tensor.is_contiguous(memory_format=last) for tensor in (x, weight)))
        return convolve(x, weight, *rest)

    monkeypatch.setattr(F, "conv2d", watch)
    assert trained.state is not None
    (later,) = run_job(as_test(job, states={"he": trained.state})).curves
    assert seen[-2:] == [True, True]  # before them, the plan watches a forward pass of its own
    (again,) = run_job(as_test(job)).curves
    assert later.test == again.test


@pytest.mark.parametrize(("engine", "own"), [("loop", True), ("stacked", False)])
def test_a_resumed_cohort_holds_each_optimizer_state_once(
    engine: str, own: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the bound on a cohort's memory counts: stacked, the members' own optimizers are empty."""
    job = make_job(
        optimizer=optimizer_of("adam"), trainer={"engine": engine}, state_dir=str(tmp_path)
    )
    begun = run_job(replace(job, stop_epoch=1.0)).curves
    configured: list[torch.optim.Optimizer] = []
    configure = CohortModule.configure_optimizers

    def watch(module: CohortModule) -> list[torch.optim.Optimizer]:
        configured.extend(optimizers := configure(module))
        return optimizers

    monkeypatch.setattr(CohortModule, "configure_optimizers", watch)
    states = {curve.candidate: str(curve.state) for curve in begun}
    resumed = run_job(replace(job, start_epoch=1.0, states=states, eval_epochs=(2.0,)))
    assert resumed.engine == engine
    assert [bool(optimizer.state) for optimizer in configured] == [own] * len(TRIO)


def test_a_members_result_does_not_depend_on_the_cohort() -> None:
    job = make_job(model=DROP_NET)
    together = curves_of(job)
    for cohort in (TRIO[:1], TRIO[1:], TRIO[::-1]):
        assert curves_of(replace(job, candidates=cohort)) == {
            c.name: together[c.name] for c in cohort
        }


def test_both_engines_drop_the_same_units() -> None:
    job = make_job(model=DROP_NET)
    looped, stacked = (
        curves_of(job),
        curves_of(replace(job, trainer=make_trainer(engine="stacked"))),
    )
    for name, curve in looped.items():
        assert stacked[name].initial_loss == pytest.approx(curve.initial_loss, rel=1e-5)
        assert stacked[name].points[0].train_loss == pytest.approx(
            curve.points[0].train_loss, rel=1e-5
        )


def test_dropout_draws_anew_in_every_step_and_block() -> None:
    """With a rate too small to move the weights, what moves the loss of one epoch to the next is dropout."""
    still = make_job(
        model=DROP_NET,
        optimizer={"name": "sgd", "batch_size": 320},
        candidates=(Candidate("a", HE, 1e-12),),
        eval_epochs=(1.0, 2.0),
    )
    first, second = run_job(still).curves[0].points
    assert first.scores["val_loss"] == pytest.approx(second.scores["val_loss"], rel=1e-6)
    assert abs(first.train_loss - second.train_loss) > 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["loop", "stacked"])
@pytest.mark.parametrize("key", ["sgd", "adam", "nadam"])
def test_cut_in_pieces_it_is_the_same_training(engine: str, key: str, tmp_path: Path) -> None:
    job = make_job(
        trainer={"engine": engine},
        optimizer=optimizer_of(key),
        model=NORM_NET,
        eval_epochs=(0.35, 1.3, 2.0),
        state_dir=str(tmp_path),
    )
    whole = run_job(job).curves
    states: dict[str, str] = {}
    points: dict[str, list[Any]] = {candidate.name: [] for candidate in TRIO}
    for start, stop in ((0.0, 0.35), (0.35, 1.3), (1.3, 2.0)):
        piece = replace(
            job,
            start_epoch=start,
            stop_epoch=stop,
            eval_epochs=None,
            states=states,
            state_dir=str(tmp_path / str(stop)),
        )
        for curve in run_job(piece).curves:
            assert curve.state is not None
            states[curve.candidate] = curve.state
            points[curve.candidate] += curve.points
            initial_loss = curve.initial_loss
    assert initial_loss == whole[-1].initial_loss
    for curve in whole:
        assert points[curve.candidate] == list(curve.points)
        one, other = read_state(curve.state), read_state(states[curve.candidate])
        for name, tensor in one["model"].items():
            assert torch.equal(tensor, other["model"][name]), name


def test_training_losses_do_not_show_where_a_job_was_cut_or_repeated(tmp_path: Path) -> None:
    job = make_job(optimizer=optimizer_of("sgd"), eval_epochs=(0.35, 1.3, 2.0), stop_epoch=2.0)
    whole = {curve.candidate: curve.points for curve in run_job(job).curves}
    cut = replace(job, stop_epoch=0.2, eval_epochs=(), state_dir=str(tmp_path))
    states = {}
    for curve in run_job(cut).curves:
        assert curve.points == ()
        assert curve.last_loss is not None
        states[curve.candidate] = str(curve.state)
    for curve in run_job(replace(job, start_epoch=0.2, states=states)).curves:
        assert curve.points == whole[curve.candidate]
    for curve in run_job(replace(job, eval_epochs=(2.0,), losses_from=1.3)).curves:
        assert curve.points == whole[curve.candidate][-1:]


def test_engines_take_over_from_each_other(tmp_path: Path) -> None:
    job = make_job(
        optimizer=optimizer_of("adam"), model=NORM_NET, candidates=rates(0.05), trainer=FLOAT64
    )
    for first, second in (("loop", "stacked"), ("stacked", "loop")):
        half = replace(
            job,
            trainer=make_trainer(**FLOAT64, engine=first),
            stop_epoch=1.0,
            state_dir=str(tmp_path / first),
        )
        states = {curve.candidate: str(curve.state) for curve in run_job(half).curves}
        rest = replace(
            job,
            trainer=make_trainer(**FLOAT64, engine=second),
            start_epoch=1.0,
            states=states,
            state_dir=str(tmp_path / "rest"),
        )
        for candidate, curve in zip(job.candidates, run_job(rest).curves, strict=True):
            alone = train_plainly(job, candidate, torch.float64).model.state_dict()
            for name, tensor in read_state(curve.state)["model"].items():
                assert torch.allclose(tensor, alone[name], rtol=0, atol=1e-10), name


@pytest.mark.parametrize("engine", ["loop", "stacked"])
def test_a_divergence_is_a_result_and_stays_its_own(engine: str, tmp_path: Path) -> None:
    bomb = Candidate("bomb", HE, 1e15)
    job = make_job(
        trainer={"engine": engine},
        candidates=(TRIO[0], bomb, *TRIO[1:]),
        eval_epochs=(1.0, 2.0),
        state_dir=str(tmp_path),
    )
    curves = curves_of(job)
    losses = train_plainly(job, bomb).losses
    assert curves["bomb"].diverged
    assert curves["bomb"].diverged_at == next(
        i for i, x in enumerate(losses) if not math.isfinite(x)
    )
    assert curves["bomb"].state is None
    assert curves["bomb"].initial_loss == pytest.approx(losses[0], rel=1e-6)
    assert all(math.isfinite(point.scores["val_loss"]) for point in curves["bomb"].points)
    for candidate in TRIO:
        alone = train_plainly(job, candidate).model.state_dict()
        for name, tensor in read_state(curves[candidate.name].state)["model"].items():
            assert torch.allclose(tensor, alone[name], rtol=1e-4, atol=1e-5), name
        assert not curves[candidate.name].diverged


@pytest.mark.parametrize("engine", ["loop", "stacked"])
def test_a_cohort_of_divergences_ends_early_without_an_error(engine: str) -> None:
    bombs = tuple(Candidate(name, HE, 1e20) for name in "abc")
    job = make_job(trainer={"engine": engine}, candidates=bombs)
    for curve in (*run_job(job).curves, *run_job(as_test(job)).curves):
        assert curve.diverged
        assert curve.points == ()
        assert curve.test is None


def test_losses_that_overflow_after_the_last_step_are_a_divergence() -> None:
    """The last update spoils the parameters: no training loss shows it, the validation does."""
    job = make_job(candidates=(Candidate("bomb", HE, 1e38),), stop_epoch=0.1)
    curve = run_job(job).curves[0]
    assert (curve.diverged, curve.diverged_at, curve.points) == (True, 0, ())


def test_lbfgs_falls_back_to_the_loop_with_the_reason(tmp_path: Path) -> None:
    job = make_job(
        trainer={"engine": "stacked"},
        optimizer={"name": "torch.optim.LBFGS", "max_iter": 3, "batch_size": 32},
        stop_epoch=0.5,
        state_dir=str(tmp_path),
    )
    result = run_job(job)
    assert result.engine == "loop"
    assert "LBFGS is not known to be elementwise" in result.reason
    for candidate, curve in zip(job.candidates, result.curves, strict=True):
        alone = train_plainly(job, candidate).model.state_dict()
        for name, tensor in read_state(curve.state)["model"].items():
            assert torch.equal(tensor, alone[name]), name


def test_a_model_that_cannot_be_batched_falls_back_to_the_loop_with_the_reason() -> None:
    branching = {"_target_": "engine_nets.BranchNet"}
    stacked = run_job(make_job(trainer={"engine": "stacked"}, model=branching))
    assert stacked.engine == "loop"
    assert "cannot batch BranchNet" in stacked.reason
    assert stacked.curves == run_job(make_job(model=branching)).curves


@pytest.mark.parametrize("trainer", [{"autocast": "bf16"}, {"channels_last": True}], ids=str)
def test_fast_forwards_stay_near_float32(trainer: dict[str, Any]) -> None:
    job = make_job(model=NORM_NET)
    fast, exact = run_job(replace(job, trainer=make_trainer(**trainer))).curves, run_job(job).curves
    for one, other in zip(fast, exact, strict=True):
        assert one.initial_loss == pytest.approx(other.initial_loss, rel=2e-2)
        accuracies = [curve.points[-1].scores["val_accuracy"] for curve in (one, other)]
        assert accuracies[0] == pytest.approx(accuracies[1], abs=0.06)
    assert (fast != exact) or "channels_last" in trainer


def test_all_candidates_of_a_block_share_what_their_plans_keep(tmp_path: Path) -> None:
    keep = {"rules": [{"weight": "keep", "bias": "keep"}]}
    job = make_job(
        candidates=(Candidate("kept", keep, 1e-12), Candidate("zero", {"name": "zeros"}, 1e-12)),
        model=NORM_NET,
        state_dir=str(tmp_path),
    )
    kept, zero = (read_state(curve.state)["model"] for curve in run_job(job).curves)
    assert torch.equal(kept["norm.weight"], zero["norm.weight"])
    assert float(kept["conv.weight"].abs().max()) > 0.01
    assert float(zero["conv.weight"].abs().max()) < 1e-6


def test_fractional_points_count_whole_steps() -> None:
    job = make_job(eval_epochs=(0.01, 0.05, 0.1, 0.11, 1.0, 1.5), stop_epoch=1.5)
    points = run_job(job).curves[0].points
    assert [(point.epoch, point.step) for point in points] == [
        (0.01, 1),
        (0.05, 1),
        (0.1, 1),
        (0.11, 2),
        (1.0, PER_EPOCH),
        (1.5, 15),
    ]
    losses = train_plainly(job, TRIO[0]).losses
    assert points[0].train_loss == points[2].train_loss == losses[0]
    assert points[4].train_loss == pytest.approx(sum(losses[2:10]) / 8, rel=1e-12)
