"""Screening: what cannot learn is reported, and nothing that can."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from engine_jobs import make_job, make_task
from torch import nn

from initsearch.tasks.data import DataSettings, load_data, split
from initsearch.training import Candidate, TrainJob, run_job
from initsearch.training.screening import screened

RANDOM = {"name": "normal", "std": 0.3}
REST = {"bias": "zeros"}
HEAD = {"where": {"role": "head"}}
LAYERS: dict[str, dict[str, Any]] = {
    "zero_first": {"rules": [{**HEAD, "weight": RANDOM}, {**REST, "weight": "zeros"}]},
    "zero_head": {"rules": [{**HEAD, "weight": "zeros"}, {**REST, "weight": RANDOM}]},
    "both_zero": {"rules": [{**REST, "weight": "zeros"}]},
    "one_constant": {"rules": [{**REST, "weight": {"name": "constant", "value": 0.1}}]},
    "he_normal": {"rules": [{**REST, "weight": "he_normal"}]},
}


DATA = {"name": "digits", "train_size": 300, "val_size": 100}
OPTIMIZER = {"name": "sgd", "batch_size": 50}


def job(activation: str, *plans: str, **changes: Any) -> TrainJob:
    model = {"name": "mlp", "depth": 1, "width": 16, "activation": activation}
    base = make_job(
        data=DATA,
        model=changes.pop("model", model),
        optimizer=OPTIMIZER,
        candidates=tuple(Candidate(name, LAYERS[name], 0.5) for name in plans),
        stop_epoch=1.0,
        screen=True,
    )
    return replace(base, **changes)


def stopped(result: Any) -> dict[str, str]:
    return {curve.candidate: curve.stopped for curve in result.curves if curve.stopped}


@pytest.mark.parametrize("activation", ["sigmoid", "tanh"])
def test_a_zero_first_layer_and_a_zero_head_are_trained(activation: str) -> None:
    result = run_job(job(activation, "zero_first", "zero_head", "he_normal"))
    assert not stopped(result)
    assert all(curve.points for curve in result.curves)


def test_identical_units_and_dead_layers_are_reported_and_the_others_are_trained() -> None:
    result = run_job(job("sigmoid", "both_zero", "one_constant", "he_normal"))
    assert set(stopped(result)) == {"both_zero", "one_constant"}
    assert all("symmetric" in reason for reason in stopped(result).values())
    dead = run_job(job("relu", "zero_first", "he_normal"))
    assert set(stopped(dead)) == {"zero_first"}
    assert "no_gradient" in stopped(dead)["zero_first"]


def test_what_is_trained_beside_them_is_trained_as_alone() -> None:
    beside = {c.candidate: c for c in run_job(job("sigmoid", "both_zero", "he_normal")).curves}
    (alone,) = run_job(job("sigmoid", "he_normal", screen=False)).curves
    assert beside["he_normal"] == alone


def test_a_cohort_of_nothing_but_the_hopeless_is_a_result() -> None:
    result = run_job(job("relu", "zero_first", "both_zero"))
    assert set(stopped(result)) == {"zero_first", "both_zero"}


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_zeroed_residual_branches_are_trained(norm: str) -> None:
    plan = {
        "rules": [
            {"where": {"name": "*conv2.weight"}, "weight": "zeros"},
            {"where": {"kind": "conv2d"}, "weight": "he_normal"},
        ]
    }
    model = {"name": "resnet", "depth": 8, "width": 4, "norm": norm}
    candidates = (Candidate("zero_last", plan, 0.1),)
    result = run_job(job("relu", "he_normal", model=model, candidates=candidates))
    assert not stopped(result)


@pytest.mark.parametrize(("alive", "reasons"), [(True, {}), (False, {"rare": "no_gradient"})])
def test_units_that_are_off_for_the_first_images_may_be_on_for_others(alive, reasons) -> None:
    data = load_data(DataSettings(name="digits"))
    parts = split(data, 3, 300, 100)
    torch.manual_seed(0)
    hidden, head = nn.Linear(64, 16), nn.Linear(16, 10)
    with torch.no_grad():
        inputs = hidden(data.normalize(data.train_x[parts.train]).flatten(1))
        first, later = inputs[:150].amax(dim=0), inputs[150:].amax(dim=0)
        assert (later > first).any()
        hidden.bias -= (first if alive else torch.maximum(first, later)) + 1e-4
    model = nn.Sequential(nn.Flatten(), hidden, nn.ReLU(), head)
    block = make_task(DATA, optimizer=OPTIMIZER).open(3, torch.device("cpu"))
    found = screened([Candidate("rare", {"default": {}}, 0.1)], [model], block)
    assert {name: text.split(":")[0] for name, text in found.items()} == reasons
