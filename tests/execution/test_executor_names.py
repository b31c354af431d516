"""Executors are found by name, in this package and in installed ones."""

import sys
import tomllib
from collections.abc import Callable
from importlib.metadata import EntryPoints
from pathlib import Path

import pytest
from executor_calls import square

from initsearch.errors import ConfigError
from initsearch.execution import list_executors, make_executor, registry

PYPROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"

Install = Callable[[str, str], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a package with one module and one entry point where Python finds it."""

    def write(entry: str, code: str) -> None:
        folder = tmp_path / "cluster-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: cluster\nVersion: 1.0\n")
        (folder / "entry_points.txt").write_text(f"[initsearch.executors]\n{entry}\n")
        (tmp_path / "cluster.py").write_text(code)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "cluster", raising=False)

    return write


SERIAL = """
from initsearch.execution import SerialExecutor

class Cluster(SerialExecutor):
    def __init__(self, **arguments):
        self.arguments = arguments
"""


def test_an_installed_package_puts_its_executor_beside_the_local_one(install: Install) -> None:
    install("cluster = cluster:Cluster", SERIAL)
    assert list_executors() == ["cluster", "local"]
    with make_executor("cluster", workers=8, devices=[1], preload=["colorsys"]) as executor:
        assert executor.submit(square, 3).result() == 9
    assert vars(executor)["arguments"] == {
        "workers": 8,
        "devices": [1],
        "distributed": False,
        "preload": ["colorsys"],
    }


def test_no_package_replaces_the_local_executor(install: Install) -> None:
    install("local = cluster:Cluster", SERIAL)
    assert not hasattr(make_executor("local"), "arguments")


@pytest.mark.slow
def test_the_local_executor_is_found_without_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "entry_points", lambda **_: EntryPoints())
    assert list_executors() == ["local"]
    assert make_executor("local").submit(square, 3).result() == 9


def test_what_is_built_in_is_what_the_package_declares() -> None:
    declared = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]["entry-points"]
    assert {point.name: point.value for point in registry.BUILT_IN} == declared[registry.GROUP]


@pytest.mark.parametrize("name", ["locl", "", None, ["local"]])
def test_an_unknown_name_is_answered_with_the_known_ones(name: str) -> None:
    with pytest.raises(ConfigError, match=r"unknown executor .*local"):
        make_executor(name)


@pytest.mark.parametrize(
    ("entry", "code", "says"),
    [
        ("cluster = missing:Cluster", "", "No module named 'missing'.*install"),
        ("cluster = cluster:Cluster", "", "has no attribute 'Cluster'.*install"),
        ("cluster = cluster:Cluster", "raise OSError('no libcluster')", "OSError: no libcluster"),
        ("cluster = cluster:make", "make = dict", "must make a JobExecutor, but made a dict"),
    ],
)
def test_an_entry_point_that_leads_to_no_executor_is_one_line(
    install: Install, entry: str, code: str, says: str
) -> None:
    install(entry, code)
    with pytest.raises(ConfigError, match=says) as caught:
        make_executor("cluster")
    assert "executor 'cluster'" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("workers", [-1, 1.5, True, "two"])
def test_workers_must_be_a_number_from_zero(workers: int) -> None:
    with pytest.raises(ConfigError, match="workers must be an integer >= 0"):
        make_executor("local", workers=workers)


def test_one_training_over_all_devices_leaves_room_for_no_other() -> None:
    with pytest.raises(ConfigError, match=r"workers must be 1 .* got 2: .*workers=1"):
        make_executor("local", workers=2, distributed=True)
