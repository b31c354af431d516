"""The random state is the same after a piece of code as before it."""

import random
import subprocess
import sys
from collections.abc import Callable

import numpy
import pytest
import torch

from initsearch.random_state import is_generator, isolated_random_state


def global_draws() -> tuple[float, float, float]:
    return float(torch.rand(())), random.random(), float(numpy.random.rand())


def states() -> list[object]:
    kind, keys, *rest = numpy.random.get_state()
    return [torch.get_rng_state().tolist(), random.getstate(), kind, list(keys), rest]


@pytest.mark.parametrize("seed", [None, 0, 2**40])
def test_no_global_state_moves(seed: int | None) -> None:
    before = states()
    with isolated_random_state(seed=seed):
        global_draws()
        numpy.random.normal()  # leaves the second number of its pair for the next call
    assert states() == before


def test_the_states_are_restored_when_the_code_raises() -> None:
    def draw_and_fail() -> None:
        with isolated_random_state(seed=1):
            global_draws()
            raise KeyError

    before = states()
    with pytest.raises(KeyError):
        draw_and_fail()
    assert states() == before


def test_a_seed_gives_the_same_numbers_and_its_absence_the_callers() -> None:
    # The caller, whatever the tests before this one have seeded.
    with isolated_random_state(seed=8):
        with isolated_random_state(seed=7):
            first = global_draws()
        with isolated_random_state(seed=7):
            again = global_draws()
        with isolated_random_state():
            inside = global_draws()
        outside = global_draws()
    assert first == again
    assert inside == outside
    assert not set(inside) & set(first)


def test_torch_draws_what_manual_seed_gives() -> None:
    with isolated_random_state(seed=3):
        drawn = torch.randn(5)
    assert torch.equal(drawn, torch.randn(5, generator=torch.Generator().manual_seed(3)))


@pytest.mark.parametrize(
    ("generator", "draw"),
    [
        (torch.Generator().manual_seed(5), lambda g: float(torch.rand((), generator=g))),
        (numpy.random.default_rng(3), lambda g: g.normal()),
        (numpy.random.Generator(numpy.random.Philox(3)), lambda g: g.normal()),
        (numpy.random.RandomState(3), lambda g: g.normal()),
        (numpy.random.RandomState(numpy.random.PCG64(3)), lambda g: g.normal()),
        (random.Random(3), lambda g: g.gauss(0, 1)),
    ],
    ids=["torch", "numpy", "philox", "legacy numpy", "legacy pcg64", "python"],
)
def test_a_generator_that_is_given_is_set_back(
    generator: object, draw: Callable[[object], float]
) -> None:
    assert is_generator(generator)
    with isolated_random_state(seed=0, generators=[generator]):
        inside = [draw(generator) for _ in range(3)]
    assert [draw(generator) for _ in range(3)] == inside


@pytest.mark.parametrize("value", [random.SystemRandom(), random, numpy.random, 3, None])
def test_what_has_no_state_of_its_own_is_no_generator(value: object) -> None:
    assert not is_generator(value)


@pytest.mark.slow
def test_numpy_is_not_imported_for_it() -> None:
    code = """
import sys, types
sys.modules["numpy"] = None  # its import fails
import importlib.util, warnings
warnings.simplefilter("ignore")
import torch
sys.modules.pop("numpy")
from initsearch.random_state import is_generator, isolated_random_state
with isolated_random_state(seed=0):
    torch.rand(())
assert not is_generator(0)
assert "numpy" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
