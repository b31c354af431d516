"""Checks of settings: what passes is returned, what fails names argument, rule, value and remedy."""

from collections.abc import Callable

import pytest

from initsearch.checks import (
    check_choice,
    check_flag,
    check_int,
    check_keys,
    check_mapping,
    check_name,
    check_number,
    is_list,
)
from initsearch.errors import ConfigError


def test_what_passes_is_returned() -> None:
    assert check_int("depth", 3) == 3
    assert check_int("seed", -7, None) == -7
    number = check_number("lr", 1, above=0.0)
    assert number == 1.0
    assert isinstance(number, float)
    assert check_number("momentum", 0.0, at_least=0.0, below=1.0) == 0.0
    assert check_flag("screen", False) is False
    assert check_choice("mode", "fan_in", ["fan_in"]) == "fan_in"
    assert check_mapping("where", {"a": 1}, "{}") == {"a": 1}
    assert check_name("plan", "größe 👩‍🔬 a/b") == "größe 👩‍🔬 a/b"
    assert is_list((1, 2))
    assert not any(is_list(value) for value in ("ab", b"ab", {"a": 1}, None))
    check_keys("key", {"a": 1}, ["a", "b"])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: check_int("depth", 0), "depth must be an integer >= 1, but got 0: give 1 or more"),
        (lambda: check_int("depth", True), "depth must be an integer >= 1, but got True"),
        (lambda: check_int("depth", 2.0), "depth must be an integer >= 1, but got 2.0"),
        (lambda: check_int("seed", "one", None), "seed must be an integer, but got 'one'"),
        (lambda: check_number("lr", "1e-2"), "lr must be a number, but got '1e-2': in YAML write"),
        (lambda: check_number("lr", False), "lr must be a number, but got False"),
        (lambda: check_number("lr", float("nan")), "lr must be finite, but got nan"),
        (lambda: check_number("lr", 0, above=0.0), "lr must be > 0, but got 0"),
        (lambda: check_number("lr", 10**400, above=0.0), "lr must be > 0, but got 1000"),
        (lambda: check_number("p", 1, at_least=0.0, below=1.0), "p must be >= 0 and < 1, but got 1"),
        (lambda: check_flag("screen", "no"), "screen must be true or false, but got 'no'"),
        (lambda: check_choice("mode", ["fan_in"], ["fan_in"]), "unknown mode"),
        (lambda: check_choice("mode", "fan_inn", ["fan_in"]), "did you mean fan_in"),
        (lambda: check_mapping("where", "relu", "{a: relu}"), "where must be a mapping, but got 'relu'"),
        (lambda: check_name("plan", None), "plan must be text, but got None: write it in quotes"),
        (lambda: check_name("plan", "a\x1b"), r"plan must be text without control characters, but got"),
        (lambda: check_name("plan", "\ud800"), "plan must be text without control characters"),
        (lambda: check_name("plan", "x" * 201), "plan must have at most 200 characters, but got 201"),
        (lambda: check_keys("key", {"biass": 1}, ["bias"]), "unknown key 'biass': did you mean bias"),
        (lambda: check_keys("key", {None: 1}, ["bias"]), "unknown key None: choose one of: bias"),
    ],
)  # fmt: skip
def test_what_fails_names_the_argument_the_rule_and_the_value(
    call: Callable[[], object], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        call()
    assert str(caught.value).startswith(message) or message in str(caught.value)
    assert "\n" not in str(caught.value)
