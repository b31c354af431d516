"""Users' own functions and classes as initializers."""

import copy
import json
import pickle
import random
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import initsearch
from initsearch.errors import ConfigError
from initsearch.initializers import (
    Initializer,
    Normal,
    get_initializer,
    list_initializers,
    register,
    registry,
)

HERE = __name__


def numpy_he(tensor: Tensor, *, fan_in: float, scale: float = 2.0) -> None:
    """A blog post's formula, with NumPy's global generator."""
    drawn = np.random.randn(*tensor.shape) * np.sqrt(scale / fan_in)
    tensor.copy_(torch.from_numpy(drawn))


def all_globals(tensor: Tensor) -> Tensor:
    return torch.randn_like(tensor) + random.random() + np.random.rand()


def given_generator(tensor: Tensor, *, generator: torch.Generator | None) -> None:
    tensor.normal_(generator=generator)


def both_fans(tensor: Tensor, *, fan_in: float, fan_out: float) -> None:
    tensor.fill_(fan_in + 1000 * fan_out)


def one_percent_of_itself(tensor: Tensor) -> None:
    tensor.mul_(0.01)


def needs_amount(tensor: Tensor, amount: float) -> None:
    tensor.fill_(amount)


def wrong_shape(tensor: Tensor) -> Tensor:
    return tensor[:1]


def wrong_kind(tensor: Tensor) -> str:
    return "done"


def takes_spec(tensor: Tensor, spec: float = 1.0) -> None:
    tensor.fill_(spec)


def takes_nothing() -> None:
    pass


instance = Normal(std=0.5)


@pytest.fixture(autouse=True)
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_ENTRIES", dict(registry._ENTRIES))


def fill(spec: object, seed: int = 0, shape: tuple[int, ...] = (40, 30)) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return get_initializer(spec).fill_(torch.zeros(shape), generator=generator)


@pytest.mark.parametrize("function", [numpy_he, all_globals, given_generator])
def test_depends_on_the_generator_and_leaves_the_global_state(function: object) -> None:
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    first = fill(function)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]
    assert random.getstate() == before[2]
    torch.manual_seed(2)
    np.random.seed(2)
    random.seed(2)
    assert torch.equal(first, fill(function))
    assert not torch.equal(first, fill(function, seed=1))


def test_numpy_s_formula_has_its_deviation() -> None:
    assert float(fill(numpy_he, shape=(500, 200)).std()) == pytest.approx(0.1, rel=0.02)
    spec = {"name": f"{HERE}.numpy_he", "scale": 8.0}
    assert float(fill(spec, shape=(500, 200)).std()) == pytest.approx(0.2, rel=0.02)


def test_without_a_generator_the_global_state_is_used_and_advances() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        drawn = get_initializer(given_generator).fill_(torch.zeros(5))
        torch.manual_seed(3)
        assert torch.equal(drawn, torch.randn(5))
        assert not torch.equal(drawn, get_initializer(given_generator).fill_(torch.zeros(5)))


def test_a_failing_function_leaves_the_global_state_as_it_was() -> None:
    def fails(tensor: Tensor) -> None:
        torch.rand(3)
        np.random.rand(3)
        raise RuntimeError("its own")

    before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    with pytest.raises(RuntimeError, match="its own"):
        fill(fails)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]


def test_fans_are_passed_by_name() -> None:
    tensor = torch.zeros(2, 3)
    get_initializer(both_fans).fill_(tensor, fan_in=5, fan_out=7)
    assert torch.equal(tensor, torch.full((2, 3), 7005.0))
    get_initializer(both_fans).fill_(tensor)
    assert torch.equal(tensor, torch.full((2, 3), 2003.0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.complex64])
def test_scaling_present_values_works_in_every_layout(dtype: torch.dtype) -> None:
    tensor = torch.full((3, 4), 100.0, dtype=dtype).t()
    get_initializer(one_percent_of_itself).fill_(tensor, generator=torch.Generator())
    torch.testing.assert_close(tensor, torch.ones(4, 3, dtype=dtype))


def test_a_function_is_registered_with_and_without_a_name() -> None:
    @register("mine")
    def first(tensor: Tensor, strength: float = 3.0) -> None:
        tensor.fill_(strength)

    @initsearch.register
    def second(tensor: Tensor) -> None:
        tensor.fill_(5)

    assert {"mine", "second"} <= set(list_initializers())
    assert float(fill("mine")[0, 0]) == 3
    assert float(fill({"name": "mine", "strength": 4})[0, 0]) == 4
    assert float(fill("second")[0, 0]) == 5
    assert get_initializer({"name": "mine", "strength": 4}).label() == "mine(strength=4)"
    # The function itself and its name give the same initializer.
    assert get_initializer(first) == get_initializer("mine")
    assert first(torch.zeros(1)) is None, "the decorator returns the function"
    assert pickle.loads(pickle.dumps(get_initializer("mine"))) == get_initializer("mine")
    assert copy.deepcopy(get_initializer("mine")) == get_initializer("mine")


def test_registered_class_has_checked_fields() -> None:
    @register("ramp")
    @dataclass(frozen=True)
    class Ramp(Initializer):
        """From 0 to `top`."""

        top: float = 1.0

        def __post_init__(self) -> None:
            self._number("top", above=0)

        def _draw_(self, out: Tensor, fan_in: float, fan_out: float, generator: object) -> None:
            out.copy_(torch.linspace(0, self.top, out.numel()).view(out.shape))

    assert torch.equal(fill({"name": "ramp", "top": 3}, shape=(4,)), torch.arange(4.0))
    assert get_initializer({"name": "ramp", "top": 3}).spec() == {"name": "ramp", "top": 3.0}
    assert get_initializer(Ramp) == Ramp()
    with pytest.raises(ConfigError, match="ramp: top must be > 0, but got -1"):
        get_initializer({"name": "ramp", "top": -1})


def test_dotted_paths_lead_to_functions_classes_and_instances() -> None:
    path = f"{HERE}.numpy_he"
    assert get_initializer(path).spec() == {"name": path}
    assert get_initializer(path) == get_initializer(numpy_he)
    assert get_initializer(get_initializer({"name": path, "scale": 1.0}).spec()).scale == 1.0
    assert get_initializer(f"{HERE}.instance") is instance
    assert get_initializer({"name": f"{HERE}.instance", "mean": 1}) == Normal(std=0.5, mean=1.0)
    assert get_initializer("initsearch.initializers.Normal") == Normal()
    assert get_initializer({"name": "initsearch.initializers.Normal", "std": 2}) == Normal(std=2.0)
    assert pickle.loads(pickle.dumps(get_initializer(path))) == get_initializer(path)


def test_a_registered_function_found_by_its_path_keeps_the_path() -> None:
    register("numpy_he")(numpy_he)
    assert get_initializer(f"{HERE}.numpy_he").spec() == {"name": f"{HERE}.numpy_he"}
    assert get_initializer(numpy_he).spec() == {"name": "numpy_he"}


def test_torch_s_own_functions_are_initializers() -> None:
    spec = {"name": "torch.nn.init.xavier_uniform_", "gain": 2.0}
    drawn = fill(spec, shape=(200, 100))
    assert float(drawn.abs().max()) == pytest.approx(2 * (6 / 300) ** 0.5, rel=0.01)
    filled = fill({"name": "torch.nn.init.constant_", "val": 2})
    assert torch.equal(filled, torch.full((40, 30), 2.0))
    assert get_initializer(nn.init.zeros_).label() == "torch.nn.init.zeros_"


def test_lambdas_fill_but_cannot_be_written_to_a_plan() -> None:
    initializer = get_initializer(lambda tensor: torch.full_like(tensor, 2))
    assert torch.equal(initializer.fill_(torch.zeros(3)), torch.full((3,), 2.0))
    with pytest.raises(ConfigError, match=r"cannot be written into a plan file: define it"):
        initializer.spec()
    halved = get_initializer(partial(needs_amount, amount=0.5))
    assert torch.equal(halved.fill_(torch.zeros(3)), torch.full((3,), 0.5))
    with pytest.raises(ConfigError, match="cannot be written into a plan file"):
        halved.spec()


REFUSED = [
    (f"{HERE}.wrong_shape", r"must return the shape \(40, 30\) .*, but got \(1, 30\)"),
    (f"{HERE}.wrong_kind", "must fill its tensor or return one, but got a str"),
    (f"{HERE}.needs_amount", "the field 'amount' must be given"),
    ({"name": f"{HERE}.numpy_he", "scael": 1}, "did you mean scale"),
    ({"name": f"{HERE}.numpy_he", "scale": [1]}, "scale must be a number, text or true/false"),
    ({"name": f"{HERE}.all_globals", "x": 1}, "takes no settings, but got 'x'"),
    (f"{HERE}.takes_spec", "an argument cannot be named 'spec'"),
    (f"{HERE}.takes_nothing", "must take the tensor as its first argument"),
    (f"{HERE}.no_such", "has no 'no_such'; correct the path"),
    (f"{HERE}.HERE", "must lead to a function, an Initializer subclass or an instance"),
    ("no_such_package.init", "no module 'no_such_package' is importable"),
    (".init", "a path is Python names with dots between"),
    (torch.Tensor.normal_, "signature of .* cannot be read"),
]


@pytest.mark.parametrize(("spec", "message"), REFUSED, ids=[text for _, text in REFUSED])
def test_refusals(spec: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        fill(spec)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "kind", "reason"),
    [
        ("import a_package_that_is_missing", ModuleNotFoundError, "a_package_that_is_missing"),
        ("1 / 0", ZeroDivisionError, "division by zero"),
        ("def mine(", SyntaxError, "never closed"),
        # Raised deep inside a library: the message names the user's line.
        ("import torch; torch.nn.Linear(1, 1).to('nowhere')", RuntimeError, "nowhere"),
        ("import json; json.loads('no')", json.JSONDecodeError, "Expecting value"),
        ("import initsearch; initsearch.get_initializer('no')", ConfigError, "unknown initializer"),
    ],
)
def test_an_error_inside_a_user_s_module_is_not_hidden(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    line: str,
    kind: type[Exception],
    reason: str,
) -> None:
    module = f"broken_by_{kind.__name__.lower()}"
    (tmp_path / f"{module}.py").write_text(f"# mine\n{line}\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=reason) as caught:
        get_initializer(f"{module}.mine")
    assert f"module '{module}' cannot be imported ({kind.__name__}: " in str(caught.value)
    assert f"{module}.py, line 2" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value.__cause__, kind)


def test_register_refuses_names_and_things() -> None:
    for name in ("he_normal", "zeros", "variance_scaling"):
        with pytest.raises(ConfigError, match=f"the name '{name}' is taken: choose another"):
            register(name)(numpy_he)
    for name in ("keep", "", "my.init"):
        with pytest.raises(ConfigError, match="without a dot and not 'keep'"):
            register(name)(numpy_he)
    with pytest.raises(ConfigError, match="must decorate a function or an Initializer subclass"):
        register("mine")(dict)
    with pytest.raises(ConfigError, match="put @dataclass"):

        @register("mine")
        class NotADataclass(Normal):
            pass

    assert "mine" not in list_initializers()


def test_defining_the_same_function_again_replaces_it() -> None:
    # As when a notebook cell is run twice.
    for value in (1.0, 2.0):

        def again(tensor: Tensor, value: float = value) -> None:
            tensor.fill_(value)

        register("again")(again)
    assert float(fill("again")[0, 0]) == 2
