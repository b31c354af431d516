"""What a verdict says about candidates that were not raced, against a table counted by hand."""

from typing import Any

from initsearch.search.candidates import TrainedCandidate
from initsearch.search.verdict.search_counts import count_search
from initsearch.space import Space
from initsearch.training.job import Candidate


def found(scheme: str, twin_of: int | None = None, **params: Any) -> TrainedCandidate:
    name = f"{scheme} {len(params)}"
    return TrainedCandidate(
        Candidate(name, {}, lr=0.1, scheme=scheme, params=params, twin_of=twin_of)
    )


PLANS = Space.from_spec({"plans": {"a": "he_normal", "b": "zeros", "c": "orthogonal"}})
GROUPS = Space.from_spec(
    {
        "groups": {
            "relu": {"where": {"activation": "relu"}, "weight": ["he_normal", "zeros", "ones"]},
            "head": {"where": {"role": "head"}, "weight": ["glorot_uniform", "zeros"]},
            "rest": {"where": {"role": "first"}, "weight": "lecun_normal"},
        }
    }
)


def test_twins_do_not_count_as_candidates() -> None:
    candidates = [found("torch_default"), found("a"), found("b"), found("a", twin_of=1)]
    counts = count_search(candidates, candidates[:2], PLANS)
    assert (counts.candidates, counts.dropped) == (3, 1)


def test_plans_that_no_candidate_had_are_named() -> None:
    counts = count_search([found("torch_default"), found("b")], [], PLANS)
    assert (counts.named, counts.untried, counts.untried_names) == (3, 2, ("a", "c"))


def test_a_plan_that_is_the_baseline_under_another_name_was_tried() -> None:
    counts = count_search([found("torch_default", plan="a"), found("b", plan="b")], [], PLANS)
    assert counts.untried_names == ("c",)


def test_schemes_of_groups_that_no_candidate_had_are_named_with_their_group() -> None:
    params = {"relu.scheme": "zeros", "head.scheme": "zeros"}
    counts = count_search([found("torch_default"), found("x", **params)], [], GROUPS)
    assert (counts.named, counts.untried) == (5, 3)  # a group without a choice is no choice
    assert counts.untried_names == ("relu:he_normal", "relu:ones", "head:glorot_uniform")
