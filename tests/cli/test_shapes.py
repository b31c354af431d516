"""Every key of the shipped configurations, given a value of another shape, is one line that names it."""

import copy
import math
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from initsearch import cli, diagnosis
from initsearch.config import read_settings
from initsearch.errors import InitSearchError
from initsearch.model_report import DiagnosisSettings
from initsearch.shipped_configs import DIAGNOSE, SEARCH, conf_dir

SHAPES: dict[str, Any] = {
    "null": None,
    "flag": True,
    "not a number": math.nan,
    "huge number": 10**400,
    "text": "abc",
    "list": [1],
    "mapping": {"a": [1], "b": {"c": None}},
}
#: Those that name a part of a setting, or what it chooses.
OTHER_NAMES = {
    "name": "name|data set|model|optimizer",
    "baselines": "baseline",
    "groups": "group|plans",
}
WORDS = {SEARCH: ["+sweep=relu_mlp", "data=digits"], DIAGNOSE: ["data=digits"]}
READERS: dict[str, Callable[[Any], object]] = {
    SEARCH: read_settings,
    DIAGNOSE: lambda config: DiagnosisSettings.parse("", OmegaConf.to_container(config)),
}
PROGRAMS = {SEARCH: cli, DIAGNOSE: diagnosis}


def tree_of(config: str) -> dict[str, Any]:
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        composed = compose(config, overrides=WORDS[config])
    tree: Any = OmegaConf.to_container(composed, resolve=True)
    return tree


def keys_of(tree: dict[str, Any], *before: str) -> Iterator[tuple[str, ...]]:
    for key, value in tree.items():
        yield (*before, key)
        if isinstance(value, dict):
            yield from keys_of(value, *before, key)


def at(tree: dict[str, Any], path: tuple[str, ...]) -> Any:
    for key in path:
        tree = tree[key]
    return tree


@pytest.mark.slow
@pytest.mark.parametrize("config", WORDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_value_of_any_shape_is_read_or_refused_in_one_line(config: str, shape: str) -> None:
    whole, refused = tree_of(config), 0
    for path in keys_of(whole):
        tree = copy.deepcopy(whole)
        at(tree, path[:-1])[path[-1]] = SHAPES[shape]
        try:
            READERS[config](OmegaConf.create(tree))
        except InitSearchError as error:
            refused += 1
            line = str(error)
            assert "\n" not in line
            assert len(line) < 1000
            assert re.search(
                rf"\b({path[-1]}|{path[0]}|{OTHER_NAMES.get(path[-1], '')})\b", line
            ), f"{'.'.join(path)}: {line}"
    assert refused > 3


def error_of(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    config: str,
    *words: str,
) -> str:
    """The one line that a program prints for wrong words."""
    monkeypatch.setattr(sys, "argv", ["initsearch", *words])
    with pytest.raises(SystemExit) as stopped:
        PROGRAMS[config].main()
    assert stopped.value.code == 1
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith("error: ")
    return line


@pytest.mark.parametrize(
    ("config", "path"),
    [
        (config, path)
        for config in WORDS
        for tree in [tree_of(config)]
        for path in keys_of(tree)
        if isinstance(at(tree, path), dict | list) and path[0] not in ("data", "model", "optimizer")
        and path[:2] != ("space", "groups")
    ],
    ids=lambda part: part if isinstance(part, str) else ".".join(part),
)  # fmt: skip
def test_a_mapping_and_a_list_are_not_exchanged(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    config: str,
    path: tuple[str, ...],
) -> None:
    is_list = isinstance(at(tree_of(config), path), list)
    key, wrong = ".".join(path), "{a: 1}" if is_list else "[1]"
    line = error_of(monkeypatch, capsys, config, *WORDS[config], f"{key}={wrong}")
    rule = "must be a list" if is_list else "must be a mapping of settings|unknown"
    assert re.search(rf"^error: .*{key}.* ({rule}).*{re.escape(wrong)}|unknown {key}", line), line


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("baselines: {mine: he_normal}", "baselines must be a list, but got {'mine': 'he_normal'}"),
        ("race: {looks: {a: 1}}", r"race.looks must be a list.*default is \[4, 6"),
        ("race: [1]", r"race must be a mapping of settings, but got \[1\]"),
        ("- 1", "must be a mapping of settings"),
        ("5", "int"),
        ("race: 5", "race must be a mapping"),
        ("name: {a: 1}", "name must be text"),
        ("name: ${nope}", "setting name .*'nope' not found"),
        ("name: ${nope", "setting name .*correct"),
        ("seed: !!timestamp x", "cannot be read"),
        ("seed: !!int x", "cannot be read"),
        ("seed: &a [*a]", "nested too deeply"),
        (f"seed: {'[' * 400}{']' * 400}", "nested too deeply"),
        ("name: !!set {a}", "setting name"),
        ("null: x", "cannot be read"),
        ("defaults: mlp", "defaults must be a list"),
        ("defaults: [{override /model: 3}]", "cannot be read"),
        ("defaults: [{override /nope: x}]", "nope"),
        ("hydra: 3", "cannot be read"),
        ("name: a\0b", "cannot be read"),
    ],
)
def test_a_sweep_file_of_any_shape_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    text: str,
    message: str,
) -> None:
    (tmp_path / "sweep").mkdir()
    space = "" if text[0] in "-5" else "\nspace: {plans: {he: he_normal}}"
    (tmp_path / "sweep" / "mine.yaml").write_text(f"# @package _global_\n{text}{space}\n")
    words = ["--config-dir", str(tmp_path), "+sweep=mine", "data=digits", "workers=0"]
    line = error_of(monkeypatch, capsys, SEARCH, *words)
    assert re.search(message, line), line
    assert len(line) < 1000
