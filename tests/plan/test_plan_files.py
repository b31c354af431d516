"""Plan files: what a file may hold, what it may not reach, and what is refused in one line."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn

from initsearch import InitCallback, InitPlan, diagnose
from initsearch.errors import ConfigError
from initsearch.plan.rules import code_in

CODE = '''
"""A user's module, which notes that it was imported."""
import os
from math import sqrt
from os import system
from pathlib import Path

Path(__file__).with_name("imported").touch()

def mine(tensor):
    tensor.fill_(7)

def squared(x):
    return x * x
'''


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of an importable package `someones_package` with a module `init`."""
    folder = tmp_path / "someones_package"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "init.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("someones_package", "someones_package.init"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield folder
    for name in ("someones_package", "someones_package.init"):
        sys.modules.pop(name, None)


def saved(spec: Any, folder: Path) -> Path:
    path = folder / "plan.yaml"
    path.write_text(yaml.safe_dump(spec))
    return path


NAMED = "someones_package.init.mine"
SPECS = {
    "bare name": NAMED,
    "mapping": {"name": NAMED},
    "rule": {"rules": [{"weight": NAMED}]},
    "bias": {"rules": [{"weight": "zeros", "bias": {"name": NAMED}}]},
    "default": {"default": {"weight": NAMED}},
    "activation": {"name": "activation_scaling", "activation": "someones_package.init.squared"},
    "base": {"name": "depth_scaled", "base": NAMED},
    "base in a rule": {"rules": [{"weight": {"name": "depth_scaled", "base": {"name": NAMED}}}]},
    "edge": {"name": "edge_of_chaos", "activation": "someones_package.init.squared"},
}


@pytest.mark.parametrize("spec", SPECS.values(), ids=list(SPECS))
def test_a_file_imports_no_code_that_is_not_allowed(package: Path, spec: Any) -> None:
    path = saved(spec, package)
    with pytest.raises(ConfigError, match=r"allow_code=\('someones_package\.init\.") as raised:
        InitPlan.load(path)
    assert "winner.yaml" in str(raised.value)
    assert "\n" not in str(raised.value)
    with pytest.raises(ConfigError, match="allow_code"):
        InitPlan.from_spec(str(path))
    with pytest.raises(ConfigError, match="allow_code"):
        diagnose(nn.Linear(2, 2), torch.ones(3, 2), plan=path)
    assert not (package / "imported").exists()


def test_a_known_gain_does_not_let_a_file_name_its_activation(package: Path) -> None:
    spec = {"name": "activation_scaling", "activation": "torch.nn.functional.gelu"}
    InitPlan.from_spec(spec)
    with pytest.raises(ConfigError, match="allow_code"):
        InitPlan.load(saved(spec, package))


@pytest.mark.parametrize("allowed", [NAMED, "someones_package.init", "someones_package"])
def test_code_is_allowed_by_its_name_or_its_module_s(package: Path, allowed: str) -> None:
    path = saved(NAMED, package)
    model = nn.Linear(2, 2)
    for plan in (
        InitPlan.load(path, allow_code=(allowed,)),
        InitPlan.from_spec(path, allow_code=[allowed]),
        InitPlan.from_spec(str(path), allow_code=allowed),
        InitCallback(path, allow_code=[allowed]).plan,
    ):
        plan.apply(model, batch=torch.ones(1, 2))
        assert torch.equal(model.weight, torch.full((2, 2), 7.0))
    report = diagnose(model, torch.ones(3, 2), plan=path, allow_code=(allowed,))
    assert report.rows[0].pre_mean == pytest.approx(14.0, abs=1.0)


@pytest.mark.parametrize(
    "path",
    ["system", "os.system", "sqrt", "Path", "os.path.join"],
)
def test_a_module_s_name_does_not_allow_what_it_has_imported(package: Path, path: str) -> None:
    file = saved(f"someones_package.init.{path}", package)
    with pytest.raises(ConfigError, match="allow_code"):
        InitPlan.load(file, allow_code=("someones_package.init",))


@pytest.mark.parametrize("allowed", ["someones", "someones_package.initial", "init.mine", "os"])
def test_another_name_allows_nothing(package: Path, allowed: str) -> None:
    with pytest.raises(ConfigError, match="allow_code"):
        InitPlan.load(saved(NAMED, package), allow_code=(allowed,))
    assert not (package / "imported").exists()


def test_python_s_own_plans_name_code_freely(package: Path) -> None:
    model = nn.Linear(2, 2)
    for spec in (NAMED, {"rules": [{"weight": NAMED}]}):
        InitPlan.from_spec(spec).apply(model, batch=torch.ones(1, 2))
        assert torch.equal(model.weight, torch.full((2, 2), 7.0))


def test_what_is_allowed_for_a_file_ends_with_its_reading(package: Path) -> None:
    with pytest.raises(ConfigError):
        InitPlan.load(saved("no_such_name", package))
    assert InitPlan.from_spec(NAMED).spec()["rules"][0]["weight"] == NAMED


def test_a_saved_plan_with_code_is_read_back_when_that_is_allowed(package: Path) -> None:
    plan = InitPlan.from_spec(
        {"rules": [{"weight": NAMED, "bias": "zeros"}], "default": {"weight": SPECS["activation"]}}
    )
    assert plan.code == (NAMED, "someones_package.init.squared")
    assert code_in(plan.spec()) == set(plan.code)
    plan.save(package / "mine.yaml", comment="the winner")
    assert f"allow_code={list(plan.code)}" in (package / "mine.yaml").read_text()
    with pytest.raises(ConfigError, match="allow_code"):
        InitPlan.load(package / "mine.yaml", allow_code=(NAMED,))
    assert InitPlan.load(package / "mine.yaml", allow_code=plan.code) == plan
    assert InitPlan.from_spec("he_normal").code == ()


def test_a_comment_with_control_characters_leaves_a_file_that_is_read_back(tmp_path: Path) -> None:
    plan = InitPlan.from_spec("he_normal")
    plan.save(tmp_path / "plan.yaml", comment="take x\x1b[31m\u202e\non pets\x07")
    assert InitPlan.load(tmp_path / "plan.yaml") == plan
    lines = (tmp_path / "plan.yaml").read_text().splitlines()
    assert lines[:2] == [r"# take x\x1b[31m\u202e", r"# on pets\x07"]


@pytest.mark.parametrize("allowed", [5, None, [5], {"a": 1}])
def test_allow_code_must_be_a_list_of_names(package: Path, allowed: Any) -> None:
    with pytest.raises(ConfigError, match="allow_code must be a list of dotted names"):
        InitPlan.load(saved("he_normal", package), allow_code=allowed)


DEEP = 500
CONTENTS = {
    "timestamp": (b"weight: !!timestamp x", "not YAML"),
    "int": (b"- !!int x", "not YAML"),
    "bool": (b"!!bool x", "not YAML"),
    "float": (b"rules: !!float ''", "not YAML"),
    "date": (b"2026-13-45", "not YAML"),
    "object": (b"!!python/object/apply:os.system [ls]", "not YAML"),
    "brackets": (b"[" * DEEP + b"]" * DEEP, "nested too deeply"),
    "mappings": (b"{a: " * DEEP + b"}" * DEEP, "nested too deeply"),
    "latin-1": ("# für\nhe_normal".encode("latin-1"), "UTF-8"),
    "NUL": (b"he_normal\0", "not YAML"),
    "unclosed": (b"rules: [", "not YAML"),
    "two documents": (b"he_normal\n---\nzeros", "not YAML"),
    "empty": (b"", "but got None"),
    "number": (b"5", "but got 5"),
    "path": (b"other.yaml", "load that file"),
    "bytes": (b"rules: !!binary aGVsbG8=", "must be a list of rules"),
    "set": (b"!!set {rules}", "mapping"),
    "long name": (b"x" * 5000, "unknown initializer or plan"),
    "long integer": (b"{name: constant, value: 0x" + b"f" * 5000 + b"}", "an integer of 20000 bits"),
    "aliases": (
        b"a: &a [x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a]\n"
        b"rules: &c [*b, *b, *b, *b, *b, *b, *b, *b]",
        "unknown key in a plan",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("content", "message"), CONTENTS.values(), ids=list(CONTENTS))
def test_any_content_is_refused_in_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "plan.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message) as raised:
        InitPlan.load(path)
    assert "plan.yaml" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 600


@pytest.mark.parametrize(
    "name", ["none.yaml", "a\0b.yaml", "x" * 300 + ".yaml", "\ud800.yaml", "."]
)
def test_a_file_that_cannot_be_read_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be read") as raised:
        InitPlan.load(tmp_path / name)
    assert "\n" not in str(raised.value)


def test_a_plan_names_the_code_of_a_base(package: Path) -> None:
    plan = InitPlan.from_spec({"name": "depth_scaled", "base": NAMED})
    assert plan.code == (NAMED,)
    assert code_in(plan.spec()) == {NAMED}
    plan.save(package / "base.yaml")
    assert InitPlan.load(package / "base.yaml", plan.code) == plan
