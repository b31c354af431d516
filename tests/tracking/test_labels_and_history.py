"""Labels that MLflow accepts, and the record that a tracker's calls leave."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.utils.validation import _validate_param, _validate_tag
from studies import curve, made_up_candidate, made_up_study

from initsearch.errors import ConfigError
from initsearch.search.tracker import Measurement
from initsearch.tracking.history import HistoryRecorder
from initsearch.tracking.store.labels import (
    CandidateLabels,
    flatten,
    param_value,
    tag_value,
    valid_key,
)


@settings(deadline=None, max_examples=50)
@given(key=st.text(max_size=300), value=st.text(max_size=9000))
def test_any_text_makes_a_param_and_a_tag(key: str, value: str) -> None:
    # MLflow's own checks are the oracle; they raise on what it refuses.
    _validate_param(valid_key(key), param_value(value))
    _validate_tag(valid_key(key), tag_value(value))
    assert len(param_value(value)) <= 6000
    assert len(tag_value(value)) <= 8000
    assert tag_value(value).replace("\n", "").isprintable() or not value.isprintable()


def test_control_characters_are_written_out() -> None:
    assert param_value("a\x1b[31m\r\u202eb") == r"a\x1b[31m\r\u202eb"
    assert tag_value("two\nlines \x00") == "two\nlines \\x00"


def test_plain_keys_stay_as_they_are() -> None:
    for key in ("relu.variance_scaling.factor", "val_accuracy/seed_3", "model._target_", "a b-c"):
        assert valid_key(key) == key


def test_settings_are_flattened_without_loss() -> None:
    nested = {"a": {"b": {"c": 1, "d": None}, "e": "text"}, "f": [1, {"g": True}], "h": {}}
    assert flatten(nested) == {
        "a.b.c": "1",
        "a.b.d": "null",
        "a.e": "text",
        "f": '[1, {"g": true}]',
        "h": "{}",
    }


RELU_AND_HEAD = {
    "relu": {
        "where": {"activation": "relu"},
        "weight": {"variance_scaling": {"mode": ["fan_in", "fan_out"]}, "orthogonal": None},
    },
    "head": {"where": {"role": "head"}, "weight": "glorot_uniform"},
}
HEAD = {"where": {"role": "head"}, "weight": "glorot_uniform"}
RELU = {
    "where": {"activation": "relu"},
    "weight": {"name": "variance_scaling", "factor": 1.5, "mode": "fan_out"},
}


def labels_of(plan: dict, groups: dict | None = None) -> dict[str, str]:
    study = made_up_study(Path())
    study = replace(study, settings={**study.settings, "space": {"groups": groups or {}}})
    candidate = replace(made_up_candidate(0, "x"), plan=plan, params={})
    return CandidateLabels(study).of(candidate)


@pytest.mark.parametrize(
    ("plan", "mode", "distribution", "factor", "activation"),
    [
        ({"name": "he_uniform"}, "fan_in", "uniform", "2", "relu"),
        ({"rules": [{"weight": "glorot_normal"}]}, "fan_avg", "normal", "1", "relu"),
        ({"rules": [{"where": {"role": "head"}, "weight": "zeros"}]}, "", "", "", "relu"),
        ({"rules": [{"where": {"activation": "selu"}, "bias": "zeros"}]}, "", "", "", "selu"),
        ({"rules": [], "default": {"weight": "keep", "bias": "keep"}}, "", "", "", "relu"),
        ({"default": {"weight": {"name": "glorot_normal"}}}, "fan_avg", "normal", "1", "relu"),
        ({"rules": [{"weight": "some.module:function"}]}, "", "", "", "relu"),
    ],
)
def test_modes_are_read_off_plans(
    plan: dict, mode: str, distribution: str, factor: str, activation: str
) -> None:
    labels = labels_of(plan)
    found = [labels[key] for key in ("mode", "distribution", "factor", "activation")]
    assert found == [mode, distribution, factor, activation]


def test_the_mode_is_that_of_the_group_that_varies_the_head_s_has_its_own_key() -> None:
    for rules in ([RELU, HEAD], [HEAD, RELU]):
        labels = labels_of({"rules": rules}, RELU_AND_HEAD)
        assert (labels["mode"], labels["factor"]) == ("fan_out", "1.5")
        assert labels["head.scheme"] == "glorot_uniform"
        assert (labels["head.mode"], labels["head.factor"]) == ("fan_avg", "1")
        assert "relu.mode" not in labels


def test_a_scheme_without_a_mode_does_not_take_the_head_s() -> None:
    plan = {"rules": [RELU | {"weight": "orthogonal"}, HEAD]}
    labels = labels_of(plan, RELU_AND_HEAD)
    assert (labels["mode"], labels["distribution"], labels["factor"]) == ("", "", "")
    assert labels["head.mode"] == "fan_avg"


def test_of_several_groups_that_vary_the_first_is_the_main_one() -> None:
    groups = {**RELU_AND_HEAD, "head": {**HEAD, "weight": ["glorot_uniform", "zeros"]}}
    labels = labels_of({"rules": [RELU, HEAD]}, groups)
    assert (labels["mode"], labels["head.mode"]) == ("fan_out", "fan_avg")
    swapped = {"head": groups["head"], "relu": groups["relu"]}
    labels = labels_of({"rules": [HEAD, RELU]}, swapped)
    assert (labels["mode"], labels["relu.mode"]) == ("fan_avg", "fan_out")


def test_whole_plans_go_by_what_holds_for_the_rest_of_the_model() -> None:
    labels = labels_of({"rules": [HEAD, {"where": {}, "weight": "he_normal"}]})
    assert (labels["mode"], labels["head.mode"]) == ("fan_in", "fan_avg")
    baseline = labels_of({"rules": [{"weight": "he_normal", "bias": "zeros"}]}, RELU_AND_HEAD)
    assert baseline["mode"] == "fan_in"
    assert not [key for key in baseline if key.startswith("head.")]


def test_the_record_keeps_order_values_and_fates(tmp_path) -> None:
    recorder = HistoryRecorder(made_up_study(tmp_path))
    recorder.start_candidate(made_up_candidate(1, "b"))
    recorder.start_candidate(made_up_candidate(0, "a"))
    reported = curve("b", 3, 0.9, steps=3)
    recorder.measure("b", reported)
    recorder.measure("b", reported)
    recorder.end_candidate("b", "pruned", "rung 1")
    record = recorder.history()
    assert [c.info.name for c in record.candidates] == ["a", "b"]
    b = record.find("b")
    assert b is not None
    assert (b.status, b.reason) == ("pruned", "rung 1")
    accuracies = {one.step: one.value for one in reported if one.key == "val_accuracy/seed_3"}
    assert b.by_seed("val_accuracy") == {3: accuracies}
    assert b.last("val_accuracy") == (max(accuracies), accuracies[max(accuracies)])
    assert record.find("c") is None


def test_the_last_score_is_the_mean_that_was_told_or_else_that_of_the_seeds(tmp_path) -> None:
    recorder = HistoryRecorder(made_up_study(tmp_path))
    recorder.start_candidate(made_up_candidate(0, "a"))
    recorder.measure(
        "a", [Measurement("val_loss/seed_0", 1.0, 10), Measurement("val_loss/seed_1", 3.0, 10)]
    )
    recorder.measure("a", [Measurement("val_loss/seed_0", 0.5, 20)])
    (candidate,) = recorder.history().candidates
    assert candidate.last("val_loss") == (20, 0.5)
    assert candidate.last("val_accuracy") is None
    recorder.measure("a", [Measurement("val_loss", math.inf, 30), Measurement("val_loss", 2.0, 10)])
    (candidate,) = recorder.history().candidates
    assert candidate.last("val_loss") == (30, math.inf)


def test_an_unknown_candidate_is_an_error(tmp_path) -> None:
    recorder = HistoryRecorder(made_up_study(tmp_path))
    recorder.start_candidate(made_up_candidate(0, "he_normal"))
    with pytest.raises(ConfigError, match="did you mean he_normal"):
        recorder.measure("he_norma", [])
    with pytest.raises(ConfigError, match="unknown candidate"):
        recorder.end_candidate("zeros", "complete", "")
