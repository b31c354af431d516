"""All kinds of layers in one model, initialized by every scheme and by every named plan."""

import warnings

import pytest
import torch
from nasty_model import TOKENS, Nasty
from torch import Tensor

from initsearch import InitPlan, InitReport
from initsearch.errors import ConfigError, ModelError, NoEffectWarning
from initsearch.initializers import get_initializer
from initsearch.initializers.registry import entries
from initsearch.layers import Slot, describe, read
from initsearch.plan import list_plans

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")

# What is for models or parameters of one kind, or takes many steps: `test_recipes`, `test_biases_from_data`
# and `test_learned_scales` have those.
SPECIAL = {
    *(
        "chrono",
        "class_prior",
        "dcgan",
        "deepnet",
        "focal_head",
        "forget_gate",
        "gradinit",
        "mamba",
        "metainit",
        "mimetic",
        "mup",
    ),
    *("siren", "t_fixup", "yolo_head", "zero_conv"),
}
# Aliases are the same object.
BUILTIN = {name for name, entry in entries() if entry.builtin and entry.alias_of is None}
SCHEMES = sorted(BUILTIN - SPECIAL)
PLANS = [name for name in list_plans() if name not in SPECIAL]
# A row of zeros has no direction, and a matrix of zeros no largest singular value above zero.
NORMED = {f"{way}{norm}.weight" for way in ("", "old_") for norm in ("weight_norm", "spectral")}


def must_refuse(scheme: str, slot: Slot) -> bool:
    """Whether a scheme's documentation excludes a weight."""
    view = slot.parts[0].view(torch.empty(slot.shape))
    if scheme == "identity":
        return view.ndim != 2
    if scheme in ("dirac", "delta_orthogonal"):
        expands = view.ndim > 2 and view.shape[0] >= view.shape[1]
        return view.ndim not in (3, 4, 5) or (scheme == "delta_orthogonal" and not expands)
    if scheme == "fixup_scaled":
        return slot.branch is not None and slot.branch_layers < 2
    # Nine tenths of a column of eight, rounded up, are the whole column.
    return scheme in ("zeros", "constant", "sparse") and slot.name in NORMED


@pytest.fixture
def model() -> Nasty:
    torch.manual_seed(0)
    return Nasty()


@pytest.fixture(scope="module")
def slots() -> dict[str, Slot]:
    torch.manual_seed(0)
    return {slot.name: slot for slot in describe(Nasty(), TOKENS)}


def apply(plan: str, model: Nasty) -> InitReport:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if plan in list_plans():
            warnings.simplefilter(
                "ignore", NoEffectWarning
            )  # no branch of the model ends with a norm
        return InitPlan.from_spec(plan).apply(model, seed=1, batch=TOKENS)


@pytest.mark.parametrize("name", [*SCHEMES, *PLANS, "keep"])
def test_every_parameter_is_accounted_for(model: Nasty, slots: dict[str, Slot], name: str) -> None:
    before = {parameter: read(model, slot).clone() for parameter, slot in slots.items()}
    rows = {row.parameter: row for row in apply(name, model).rows}
    assert list(rows) == list(slots)
    stored = sorted(stored for slot in slots.values() for stored in slot.stored_as)
    assert stored == sorted(parameter for parameter, _ in model.named_parameters())
    for parameter, row in rows.items():
        slot, now = slots[parameter], read(model, slots[parameter])
        assert bool(torch.isfinite(now).all()), parameter
        assert row.mean == pytest.approx(now.float().mean().item(), abs=1e-6)
        assert row.std == pytest.approx(now.float().std(correction=0).item(), abs=1e-5)
        if row.initializer == "keep":
            assert torch.equal(now, before[parameter]), parameter
            # Kept for a reason: not matched by the plan, frozen, or refused with a note.
            outside = name == "keep" or slot.category not in ("weight", "bias")
            assert outside or "frozen" in row.note or "kept: " in row.note, (parameter, row.note)
        elif slot.category == "bias" and name != "torch_default":
            biases = {"edge_of_chaos": "normal(std=0.223607)"}
            assert row.initializer == biases.get(name, "zeros")
    assert bool((model.embedding.weight[3] == 0).all())
    assert rows["frozen.weight"].initializer == "keep"
    refused = {row.parameter for row in rows.values() if "kept: " in row.note}
    if name in SCHEMES:
        trainable = [s for s in slots.values() if s.category == "weight" and s.requires_grad]
        assert refused == {slot.name for slot in trainable if must_refuse(name, slot)}
    elif name != "keep":
        assert refused == set()


def test_a_rule_with_a_condition_raises_where_a_bare_name_keeps(model: Nasty) -> None:
    for where, weight, error in (
        ({"kind": "conv2d"}, "identity", ConfigError),
        ({"name": "weight_norm"}, "zeros", ModelError),
        ({"kind": "linear"}, "dirac", ConfigError),
    ):
        plan = InitPlan.from_spec({"rules": [{"where": where, "weight": weight}]})
        with pytest.raises(error) as raised:
            plan.apply(model, batch=TOKENS)
        assert "\n" not in str(raised.value)


def test_the_default_of_a_plan_keeps_what_is_refused(model: Nasty) -> None:
    report = InitPlan.from_spec({"default": {"weight": "identity"}}).apply(model, batch=TOKENS)
    rows = {row.parameter: row for row in report.rows}
    assert "kept: identity: the tensor must be 2-D" in rows["conv2.weight"].note
    assert torch.equal(model.before_prelu.weight, torch.eye(8))


def test_an_initializer_that_fills_nothing_is_an_error() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    with pytest.raises(ConfigError, match="dirac: the tensor must be 3-D"):
        InitPlan.from_spec("dirac").apply(model, batch=torch.randn(2, 4))


def test_a_parameter_that_is_refused_in_part_stays_as_it_was() -> None:
    """The first group fits, the second does not: neither is filled."""
    from initsearch import Initializer

    class Picky(Initializer):
        name = "picky"

        def _draw_(self, out: Tensor, fan_in: float, fan_out: float, generator: object) -> None:
            if bool((out == 7).any()):
                raise ConfigError("picky: no sevens")
            out.fill_(1.0)

    model = torch.nn.Sequential(torch.nn.Conv1d(4, 4, 1, groups=2), torch.nn.Conv1d(4, 4, 1))
    with torch.no_grad():
        model[0].weight.fill_(3.0)[2:] = 7.0
    before = model[0].weight.clone()
    InitPlan((), weight=Picky()).apply(model, batch=torch.randn(2, 4, 5))
    assert torch.equal(model[0].weight, before)
    assert bool((model[1].weight == 1).all())


def test_an_initializer_that_needs_what_plans_lack_is_refused() -> None:
    normal = get_initializer("normal")

    class Needy(type(normal)):  # type: ignore[misc]
        name = "needy"
        needs = frozenset({"learning_rate"})

    model = torch.nn.Linear(4, 4)
    with pytest.raises(
        ConfigError, match=r"weight: needy needs learning_rate, which a plan does not"
    ):
        InitPlan((), weight=Needy()).apply(model, batch=torch.randn(2, 4))
