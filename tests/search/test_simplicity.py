"""The order in which equivalent plans are recommended: a rule that is stated before the race."""

from typing import Any

import pytest

from initsearch.plan import InitPlan
from initsearch.search.racing.simplicity import simplicity_ranks
from initsearch.training.job import Candidate

SCALED = {"name": "variance_scaling", "factor": 0.896398, "mode": "fan_avg"}


def candidate(name: str, plan: Any) -> Candidate:
    return Candidate(name, InitPlan.from_spec(plan).spec(), lr=0.1)


def by_layers(*weights: Any) -> dict[str, Any]:
    roles = ("first", "hidden", "head")
    return {
        "rules": [
            {"where": {"role": role}, "weight": weight}
            for role, weight in zip(roles, weights, strict=False)
        ]
    }


@pytest.mark.parametrize(
    ("simpler", "other"),
    [
        ("he_normal", SCALED),  # a named preset before free numbers
        ("he_normal", by_layers("he_normal", "he_normal")),  # fewer rules before more
        (by_layers("he_normal", "zeros", "zeros"), SCALED),  # numbers count before rules
        ({"name": "normal", "std": 0.01}, {"name": "truncated_normal", "std": 0.01, "low": -3.0}),
        ("he_normal", {"name": "he_normal", "mode": "fan_avg"}),  # then other arguments
        (
            "he_normal",
            {"rules": [{"weight": "he_normal", "bias": {"name": "constant", "value": 0.1}}]},
        ),
    ],
)
def test_the_simpler_plan_has_the_smaller_rank(simpler: Any, other: Any) -> None:
    ranks = simplicity_ranks([candidate("other", other), candidate("simpler", simpler)])
    assert ranks == {"simpler": 0, "other": 1}


def test_presets_and_their_spelled_out_form_are_equally_simple() -> None:
    spelled = {
        "name": "variance_scaling",
        "factor": 2.0,
        "mode": "fan_in",
        "distribution": "normal",
    }
    plans = {"he": "he_normal", "spelled": spelled, "lecun": "lecun_uniform", "odd": SCALED}
    ranks = simplicity_ranks([candidate(name, plan) for name, plan in plans.items()])
    assert ranks == {"he": 0, "spelled": 0, "lecun": 0, "odd": 1}
