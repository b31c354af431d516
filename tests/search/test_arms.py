"""Arms: schemes that draw the same weights are one, and what differs in the rate alone does not race itself."""

from pathlib import Path
from typing import Any

import pytest
from simulated_jobs import simulate
from study_runs import Listener, Trained, settings

from initsearch.search.verdict import Verdict

pytestmark = pytest.mark.slow

BASELINE = {"torch_default": "torch_default"}
#: Uniform with a variance of 1/fan_in in two dialects, and He's normal under three names and by its formula.
NAMES: dict[str, Any] = {
    "caffe": {"name": "caffe", "dialect": "tf1"},
    "keras_lecun_uniform": "keras_lecun_uniform",
    "he_normal": "he_normal",
    "msra": "msra",
    "by_hand": {
        "name": "variance_scaling",
        "factor": 2,
        "mode": "fan_in",
        "distribution": "normal",
    },
    "by_rule": {
        "rules": [{"where": {"kind": "linear"}, "weight": "kaiming_normal", "bias": "zeros"}]
    },
    "orthogonal": "orthogonal",
}


def run_names(output: Path, **changes: Any) -> tuple[Trained, Listener, Verdict]:
    trained, listener = Trained(simulate), Listener()
    plain: dict[str, Any] = {
        "space": {"plans": NAMES},
        "baselines": BASELINE,
        "n_trials": 8,
        "search": {"pruner": "none"},
        "race": {"shortlist": 9},
    }
    return trained, listener, trained.run(settings(output, **(plain | changes)), listener)


def test_names_of_one_scheme_are_one_arm(tmp_path) -> None:
    trained, listener, verdict = run_names(tmp_path)
    raced = {standing.name: standing.also_named for standing in verdict.candidates}
    assert raced == {
        "torch_default": (),
        "caffe": ("keras_lecun_uniform",),
        "he_normal": ("msra", "by_hand", "by_rule"),
        "orthogonal": (),
    }
    assert {name for name, *_ in trained.pieces} == set(raced)
    (message,) = (text for (text,) in listener.heard("message") if "distinct" in text)
    assert message.startswith("4 distinct candidates of 8")


def test_twins_are_on_record_with_the_candidate_that_was_trained(tmp_path) -> None:
    _, _, verdict = run_names(tmp_path)
    rows = {row.name: row for row in verdict.evidence.search}
    twin_of = {name: row.twin_of for name, row in rows.items() if row.twin_of is not None}
    number = {name: row.number for name, row in rows.items()}
    assert twin_of == {
        "keras_lecun_uniform": number["caffe"],
        **dict.fromkeys(("msra", "by_hand", "by_rule"), number["he_normal"]),
    }
    for name, first in twin_of.items():
        assert rows[name].score == verdict.evidence.search[first].score
        assert not rows[name].raced


def test_two_names_of_one_scheme_at_two_rates_do_not_race_each_other(tmp_path) -> None:
    """The grid has each name at each rate; the better rate enters, once."""
    space = {"plans": NAMES, "lr": [0.05, 0.1]}
    _, _, verdict = run_names(tmp_path, space=space, n_trials=16)
    assert len(verdict.candidates) == 4
    schemes = {standing.scheme for standing in verdict.candidates}
    assert schemes == {"torch_default", "caffe", "he_normal", "orthogonal"}
    rows = {row.name: row for row in verdict.evidence.search}
    for standing in verdict.candidates:
        names = (standing.scheme, *standing.also_named)
        rivals = [row for row in rows.values() if row.name.split(" lr=")[0] in names]
        assert rows[standing.name].score == max(row.score for row in rivals)
        assert standing.lr in (0.05, 0.1)


def test_a_candidate_that_is_the_baseline_belongs_to_it(tmp_path) -> None:
    """Named otherwise in the space, and at a rate of its own: it still does not race the baseline."""
    space = {"plans": {"mine": "kaiming_normal", "orthogonal": "orthogonal"}, "lr": [0.05, 0.1]}
    asked = {"space": space, "baselines": {"he_normal": "he_normal"}, "n_trials": 6}
    _, _, verdict = run_names(tmp_path, **asked)
    by_name = {row.name: row for row in verdict.evidence.search}
    assert by_name["mine lr=0.05"].scheme == "he_normal"
    assert by_name["mine lr=0.05"].twin_of == by_name["he_normal lr=0.05"].number
    assert {standing.scheme for standing in verdict.candidates} == {"he_normal", "orthogonal"}
    baseline = next(s for s in verdict.candidates if s.name == verdict.baseline)
    assert (baseline.scheme, baseline.also_named) == ("he_normal", ("mine",))


@pytest.mark.parametrize("rates", [None, [0.05, 0.1]])
def test_a_candidate_with_another_head_is_not_the_baseline_and_says_what_differs(
    tmp_path, rates
) -> None:
    groups = {
        "relu": {"where": {"activation": "relu"}, "weight": ["he_normal", "orthogonal"]},
        "head": {"where": {"role": "head"}, "weight": "zeros"},
    }
    asked = {"space": {"groups": groups, "lr": rates}, "baselines": {"he_normal": "he_normal"}}
    _, _, verdict = run_names(tmp_path, **asked, n_trials=3 if rates is None else 6)
    rates_text = [""] if rates is None else [" lr=0.05", " lr=0.1"]
    schemes = {row.name: row.scheme for row in verdict.evidence.search}
    other = "relu:he_normal head:zeros"
    assert schemes == {
        name + rate: scheme
        for rate in rates_text
        for name, scheme in {
            "he_normal": "he_normal",
            other: other,
            "orthogonal": "orthogonal",
        }.items()
    }
    assert len({standing.scheme for standing in verdict.candidates}) == 3


def test_rates_that_round_alike_have_names_of_their_own(tmp_path) -> None:
    space = {"plans": {"orthogonal": "orthogonal"}, "lr": [0.01, 0.010001]}
    _, _, verdict = run_names(tmp_path, space=space, n_trials=4)
    names = [row.name for row in verdict.evidence.search]
    assert names[:2] == ["torch_default lr=0.01", "torch_default lr=0.010001"]


def test_names_are_the_same_when_a_study_resumes(tmp_path) -> None:
    _, _, verdict = run_names(tmp_path, n_trials=6)
    _, _, extended = run_names(tmp_path, n_trials=8)
    names = [row.name for row in extended.evidence.search]
    assert names[:6] == [row.name for row in verdict.evidence.search]
    assert len(set(names)) == 8


def test_the_verdict_lists_the_best_rate_of_each_scheme(tmp_path) -> None:
    """Against the rows of the search: all candidates have the full budget."""
    space = {"plans": NAMES, "lr": [0.05, 0.1]}
    _, _, verdict = run_names(tmp_path, space=space, n_trials=16)
    best: dict[str, tuple[float, float]] = {}
    for row in verdict.evidence.search:
        assert row.lr in (0.05, 0.1)
        if row.status == "complete":
            best[row.scheme] = max(best.get(row.scheme, (0.0, 0.0)), (row.score, row.lr))
    rates = verdict.evidence.rates
    assert {rate.scheme: (rate.score, rate.lr) for rate in rates} == best
    assert [rate.score for rate in rates] == sorted((rate.score for rate in rates), reverse=True)
    for rate in rates:
        assert rate.scores[rate.lr] == rate.score == max(rate.scores.values())
    tried = {rate.scheme: rate.tried for rate in rates}
    assert tried["orthogonal"] == (0.05, 0.1)
    raced = {standing.scheme: standing.lr for standing in verdict.candidates}
    assert all(best[scheme][1] == lr for scheme, lr in raced.items())
    assert Verdict.load(verdict.save(tmp_path / "copy.json")).evidence.rates == rates


def test_without_a_choice_of_rates_there_is_no_best_one(tmp_path) -> None:
    _, _, verdict = run_names(tmp_path)
    assert verdict.evidence.rates == ()
