"""Where MLflow's store lies, how it opens, and the command that shows it."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from studies import FEW, made_up_study, made_up_verdict, tell

from initsearch.errors import ConfigError
from initsearch.tracking.group import TrackerGroup
from initsearch.tracking.report import ReportTracker
from initsearch.tracking.store.condition import prepare_store
from initsearch.tracking.store.database import open_client
from initsearch.tracking.store.mlflow_tracker import MlflowTracker
from initsearch.tracking.store.places import tracking_uri, ui_command

pytestmark = pytest.mark.slow

# What a fresh store does at its first use, seen from a program of the user's that treats warnings as errors.
FRESH = """
import sys
import warnings
import initsearch.tracking
from initsearch.tracking import figures, report
from initsearch.tracking.words import tables, terminal
light = [m for m in ("mlflow", "matplotlib.pyplot", "hydra") if m in sys.modules]
assert not light, light
from initsearch.tracking import MlflowTracker
with warnings.catch_warnings():
    warnings.simplefilter("error")
    MlflowTracker.in_folder(sys.argv[1])
from mlflow.telemetry import get_telemetry_client
assert get_telemetry_client() is None
"""


def clean_environment() -> dict[str, str]:
    """This environment without what makes MLflow behave as in a test."""
    hidden = ("PYTEST", "MLFLOW", "CI", "GITHUB_ACTIONS", "DO_NOT_TRACK")
    return {key: value for key, value in os.environ.items() if not key.startswith(hidden)}


def test_a_fresh_store_is_made_quietly_by_two_at_once_and_calls_nobody(tmp_path: Path) -> None:
    output = tmp_path / "new" / "out puts"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", FRESH, str(output)],
            cwd=Path(__file__).parents[2],
            env=clean_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(2)
    ]
    said = [process.communicate(timeout=300)[0] for process in processes]
    assert said == ["", ""]
    assert [process.returncode for process in processes] == [0, 0]
    assert (output / "mlflow.db").stat().st_size > 100_000


def test_usage_reports_can_be_asked_for() -> None:
    code = (
        "import os, initsearch.tracking; assert os.environ['MLFLOW_DISABLE_TELEMETRY'] == 'false'"
    )
    environment = clean_environment() | {"MLFLOW_DISABLE_TELEMETRY": "false"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        cwd=Path(__file__).parents[2],
        timeout=60,
        check=False,
    )
    assert done.returncode == 0


@pytest.mark.parametrize(
    "kind", ["a file in its place", "a file above it", "no database", "a folder"]
)
def test_a_store_that_cannot_be_opened_says_why_at_once(tmp_path: Path, kind: str) -> None:
    output = tmp_path / "out"
    if kind == "a file in its place":
        output.write_text("")
    elif kind == "a file above it":
        output.write_text("")
        output = output / "deeper"
    else:
        output.mkdir()
        if kind == "no database":
            (output / "mlflow.db").write_text("no database" * 100)
        else:
            (output / "mlflow.db").mkdir()
    looks = [lambda folder: open_client(tracking_uri(folder))]
    if kind == "a folder":  # a file above it is found before, and what is no database is put aside
        looks.append(prepare_store)
    for look in looks:
        with pytest.raises(ConfigError, match=r"cannot open the MLflow store .* output_dir=") as no:
            look(output)
        assert "\n" not in str(no.value)


def test_a_store_that_is_not_there_yet_is_no_obstacle(tmp_path: Path) -> None:
    prepare_store(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("sign", ["?", "%"])
def test_signs_that_addresses_give_a_meaning_are_refused(tmp_path: Path, sign: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(repr(sign))):
        tracking_uri(tmp_path / f"a{sign}b")


def test_the_command_names_a_program_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "it's mine"
    uri = f"sqlite:///{folder}/mlflow.db"
    here = Path(sys.executable).parent
    monkeypatch.setenv("PATH", str(here), prepend=os.pathsep)
    assert shlex.split(ui_command(folder)) == ["mlflow", "ui", "--backend-store-uri", uri]
    monkeypatch.setenv("PATH", "/nowhere")
    words = shlex.split(ui_command(folder))
    assert words == [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", uri]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """Starts a command on a free port of this machine and gives its address."""
    servers: list[subprocess.Popen[bytes]] = []

    def start(command: str) -> str:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        # A worker is enough here, four of them take four times as long to start.
        words = [*shlex.split(command), "--port", str(port), "--workers", "1"]
        with (tmp_path / "server.log").open("wb") as log:
            servers.append(
                subprocess.Popen(
                    words,
                    cwd=tmp_path,
                    env=clean_environment() | {"MLFLOW_DISABLE_TELEMETRY": "true"},
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            )
        address = f"http://127.0.0.1:{port}"
        for _ in range(2000):
            try:
                urllib.request.urlopen(f"{address}/health", timeout=5).close()
            except OSError:
                time.sleep(0.1)
            else:
                return address
        raise TimeoutError((tmp_path / "server.log").read_text())

    yield start
    for server in servers:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=30)


def ask(address: str, path: str, question: dict[str, Any] | None = None) -> Any:
    data = None if question is None else json.dumps(question).encode()
    request = urllib.request.Request(
        address + path, data=data, headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())


def test_a_new_store_is_as_safe_as_an_old_one(tmp_path: Path) -> None:
    """It is created without waiting for the disk, but its connections wait for it from then on."""
    for _ in range(2):
        store = open_client(tracking_uri(tmp_path))._tracking_client.store
        with store.engine.connect() as connection:
            assert connection.execute(text("PRAGMA synchronous")).scalar() == 2  # FULL


def test_the_command_shows_the_study(output: Path, serve: Callable[[str], str]) -> None:
    study = made_up_study(output / "convnet-1a2b")
    tell(
        TrackerGroup(lambda: [ReportTracker(), MlflowTracker.in_folder(output)]),
        study,
        made_up_verdict(FEW),
        extra=1,
    )
    address = serve(ui_command(output))
    experiments = ask(address, "/api/2.0/mlflow/experiments/search", {"max_results": 10})[
        "experiments"
    ]
    mnist = next(one["experiment_id"] for one in experiments if one["name"] == "mnist")
    question = {"experiment_ids": [mnist], "filter": "tags.level = 'study'"}
    (parent,) = ask(address, "/api/2.0/mlflow/runs/search", question)["runs"]
    tags = {tag["key"]: tag["value"] for tag in parent["data"]["tags"]}
    assert (tags["architecture"], tags["winner"]) == ("convnet", "he_normal")
    run_id = parent["info"]["run_id"]
    listed = ask(address, f"/api/2.0/mlflow/artifacts/list?run_id={run_id}&path=figures")["files"]
    assert [file["path"] for file in listed] == [
        f"figures/{name}.png" for name in ("curves", "gaps", "race", "search")
    ]
    picture = f"{address}/get-artifact?run_id={run_id}&path=figures/race.png"
    with urllib.request.urlopen(picture, timeout=30) as answer:
        assert answer.read() == (study.folder / "figures" / "race.png").read_bytes()
