"""Values and names in messages: one line of readable length, whatever was received."""

import pytest

from initsearch.errors import LONGEST, listed, quoted, unknown_name


class Multiline:
    def __repr__(self) -> str:
        return "first\n  second"


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no")


def nested(depth: int) -> list[object]:
    value: list[object] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value", ["relu", 3, 0.5, None, True, [1, "a"], {"name": "normal", "a": {"b": [1]}}, (1,), b"x"]
)
def test_a_short_value_is_its_repr(value: object) -> None:
    assert quoted(value) == repr(value)


SELF: list[object] = []
SELF.append(SELF)


@pytest.mark.parametrize(
    "value",
    ["x" * 10_000, 10**400, 1 << 10**6, nested(100_000), SELF, list(range(10_000)), Unprintable()],
    ids=["text", "integer", "huge integer", "nesting", "itself", "list", "unprintable"],
)
def test_any_value_is_one_readable_line(value: object) -> None:
    text = quoted(value)
    assert 0 < len(text) <= LONGEST
    assert "\n" not in text


def test_control_characters_are_escaped() -> None:
    assert quoted("\x1b[31m\n") == r"'\x1b[31m\n'"
    assert quoted(Multiline()) == "first second"


def test_a_long_list_of_names_says_how_many_there_are() -> None:
    names = [f"initializer_{number:03}" for number in range(100)]
    text = listed(names)
    assert text.startswith("initializer_000, initializer_001, ")
    assert text.endswith(", … (100 in all)")
    assert len(text) < LONGEST + 20
    assert listed(["b", "a"]) == "a, b"


def test_an_unknown_name_comes_with_the_nearest_or_with_all() -> None:
    assert str(unknown_name("mode", "fan_inn", ["fan_in", "fan_out"])) == (
        "unknown mode 'fan_inn': did you mean fan_in or fan_out?"
    )
    assert str(unknown_name("mode", None, ["fan_out", "fan_in"])) == (
        "unknown mode None: choose one of: fan_in, fan_out"
    )
    many = [f"initializer_{number}" for number in range(1000)]
    for value in ("x" * 10_000, nested(1000), 1 << 10**6):
        assert len(str(unknown_name("initializer", value, many))) < 3 * LONGEST
