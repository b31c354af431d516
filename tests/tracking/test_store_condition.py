"""Stores that were half created, damaged, moved or deleted: what is left, and that the next run is right."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from sqlalchemy import event
from sqlalchemy.engine import Engine
from studies import FEW, made_up_candidate, made_up_study, made_up_verdict, rows, tell

from initsearch.errors import ConfigError, InitSearchError
from initsearch.search.tracker import Measurement
from initsearch.tracking.store.condition import has_records, prepare_store
from initsearch.tracking.store.database import open_client
from initsearch.tracking.store.mlflow_tracker import MlflowTracker
from initsearch.tracking.store.places import tracking_uri

pytestmark = pytest.mark.slow

OPEN = "from initsearch.tracking import MlflowTracker; MlflowTracker.in_folder(sys.argv[1])"


def environment() -> dict[str, str]:
    folders = (Path(__file__).parents[2], Path(__file__).parent)
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))}


def in_another_process(code: str, output: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", f"import sys; {code}", str(output)],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )


@contextmanager
def at_each_connection(act: Callable[[sqlite3.Connection], None]) -> Iterator[None]:
    """Do something with each new connection to a database."""

    def listener(connection: sqlite3.Connection, record: object) -> None:
        act(connection)

    event.listen(Engine, "connect", listener)
    try:
        yield
    finally:
        event.remove(Engine, "connect", listener)


class Killed(BaseException):
    """Stands in for the end of the process."""


@contextmanager
def killed_at_statement(number: int) -> Iterator[None]:
    count = 0

    def listener(*arguments: object) -> None:
        nonlocal count
        count += 1
        if count == number:
            raise Killed

    event.listen(Engine, "before_cursor_execute", listener)
    try:
        yield
    finally:
        event.remove(Engine, "before_cursor_execute", listener)


def visible_files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.endswith(".lock")}


def study_in(output: Path) -> None:
    """A whole study in an output folder."""
    study = made_up_study(output / "convnet-1a2b")
    study.folder.mkdir(exist_ok=True)
    (study.folder / "winner.yaml").write_text("rules: []\n")
    tell(MlflowTracker.in_folder(output), study, made_up_verdict(FEW), extra=1)


def finished_runs(output: Path) -> int:
    query = "select count(*) from runs where status != 'RUNNING' and name = 'convnet on mnist'"
    return int(rows(output, query)[0][0])


@pytest.mark.slow
def test_an_interrupted_creation_leaves_no_store(tmp_path: Path) -> None:
    for number in (1, 150, 600):
        with killed_at_statement(number), pytest.raises(Killed):
            open_client(tracking_uri(tmp_path))
        assert visible_files(tmp_path) == set()
    study_in(tmp_path)
    assert visible_files(tmp_path) == {"mlflow.db", "mlartifacts", "convnet-1a2b"}
    assert finished_runs(tmp_path) == 1


@pytest.mark.slow
def test_a_process_that_is_killed_while_it_creates_a_store_leaves_nothing_that_hurts(
    tmp_path: Path,
) -> None:
    for wait in (0.0, 0.5):
        program = subprocess.Popen(
            [sys.executable, "-c", f"import sys; {OPEN}", str(tmp_path)], env=environment()
        )
        while not list(tmp_path.glob(".*.tmp")):  # the store, aside
            assert program.poll() is None
            time.sleep(0.01)
        time.sleep(wait)
        program.send_signal(signal.SIGKILL)
        program.wait()
        assert not (tmp_path / "mlflow.db").exists()
    study_in(tmp_path)
    assert visible_files(tmp_path) == {"mlflow.db", "mlartifacts", "convnet-1a2b"}
    assert finished_runs(tmp_path) == 1


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def fill(content: bytes) -> Callable[[Path], None]:
    return lambda file: file.write_bytes(content * file.stat().st_size)


def half_created(file: Path) -> None:
    """As a process left it that was killed within a migration."""
    with closing(sqlite3.connect(file)) as database:
        database.execute("create table _alembic_tmp_experiments (experiment_id integer)")
        database.commit()


def without_version(file: Path) -> None:
    with closing(sqlite3.connect(file)) as database:
        database.execute("delete from alembic_version")
        database.commit()


DAMAGES = {
    "cut": cut,
    "zeros": fill(b"\0"),
    "garbage": fill(b"x"),
    "a migration half done": half_created,
    "no version": without_version,
    "empty": lambda file: file.write_bytes(b""),
}


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_store_is_put_aside_and_the_records_are_made_again(
    output: Path, damage: str
) -> None:
    study_in(output)
    DAMAGES[damage](output / "mlflow.db")
    broken = (output / "mlflow.db").read_bytes()
    said: list[str] = []
    MlflowTracker.in_folder(output, said.append).close()
    (line,) = said
    assert "mlflow.db" in line
    assert "\n" not in line
    assert not has_records(output, "convnet-1a2b")
    study_in(output)
    assert has_records(output, "convnet-1a2b")
    assert finished_runs(output) == 1
    kept = [path.read_bytes() for path in output.glob("mlflow.db.damaged-*")]
    assert kept == ([broken] if broken else [])


def test_a_store_is_found_damaged_before_mlflow_is_loaded(output: Path) -> None:
    cut(output / "mlflow.db")
    (line,) = prepare_store(output)
    assert "mlflow.db.damaged-1" in line
    assert "made again" in line
    assert prepare_store(output) == ()
    for number in (2, 3):
        (output / "mlflow.db").write_bytes(b"garbage" * 1000)
        (line,) = prepare_store(output)
        assert f"mlflow.db.damaged-{number}" in line


@pytest.mark.slow
def test_an_older_store_without_runs_is_created_again_one_with_runs_is_kept(output: Path) -> None:
    def age() -> None:
        with closing(sqlite3.connect(output / "mlflow.db")) as database:
            database.execute("update alembic_version set version_num = '451aebb31d03'")
            database.commit()

    age()
    said: list[str] = []
    open_client(tracking_uri(output), said.append)
    assert "out-of-date" in said[0]
    shutil.copy(output / "mlflow.db", output / "copy.db")
    study_in(output)
    age()
    # In a process of its own: MLflow does not look twice at a store that it has opened.
    done = in_another_process(OPEN, output)
    assert "ConfigError: cannot open the MLflow store" in done.stderr.splitlines()[-1]
    assert "mlflow db upgrade" in done.stderr.splitlines()[-1]
    assert rows(output, "select count(*) from runs")[0][0] > 0


def test_another_program_s_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        database.execute("create table trials (number integer)")
        database.commit()
    before = (tmp_path / "mlflow.db").read_bytes()
    with pytest.raises(ConfigError, match=r"another program.*output_dir="):
        prepare_store(tmp_path)
    assert (tmp_path / "mlflow.db").read_bytes() == before


def test_a_store_that_is_deleted_in_mid_study_ends_it_with_one_line(
    output: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tracker = MlflowTracker.in_folder(output)
    tracker.start_study(made_up_study(output / "convnet-1a2b"))
    tracker.start_candidate(made_up_candidate(0, "he_normal"))
    (output / "mlflow.db").unlink()
    with pytest.raises(InitSearchError, match=r"deleted.*same command again") as error:
        tracker.measure("he_normal", [Measurement("val_accuracy", 0.5, 1)])
    assert "\n" not in str(error.value)
    tracker.close()
    assert capfd.readouterr().err == ""
    study_in(output)
    assert finished_runs(output) == 1


def test_a_full_disk_ends_a_study_with_one_line(output: Path) -> None:
    connections = []

    def fill_disk(connection: sqlite3.Connection) -> None:
        pages = connection.execute("pragma page_count").fetchone()[0]
        connection.execute(f"pragma max_page_count = {pages + 1}")
        connections.append(connection)

    with at_each_connection(fill_disk):
        tracker = MlflowTracker.in_folder(output)
        study = made_up_study(output / "convnet-1a2b")
        with pytest.raises(InitSearchError, match=r"full.*same command again") as error:
            tell(tracker, study, made_up_verdict(FEW), extra=1)
        assert "\n" not in str(error.value)
        tracker.close()
    for connection in connections:  # somebody makes room
        connection.execute("pragma max_page_count = 1000000")
    study_in(output)
    assert finished_runs(output) == 1


def test_a_store_in_a_folder_that_was_deleted_in_this_process_is_a_new_one(output: Path) -> None:
    study_in(output)
    shutil.rmtree(output)
    output.mkdir()
    study_in(output)
    assert finished_runs(output) == 1


def tree(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


def artifact_places(output: Path) -> set[str]:
    queries = ("select artifact_location from experiments", "select artifact_uri from runs")
    return {place for query in queries for (place,) in rows(output, query)}


@pytest.mark.parametrize("way", ["copied", "moved"])
def test_the_folder_is_used_where_it_is(output: Path, tmp_path: Path, way: str) -> None:
    study_in(output)
    other = made_up_study(output / "digits", dataset="digits", name="digits-9f")
    tell(MlflowTracker.in_folder(output), other, made_up_verdict(FEW, dataset="digits"), extra=0)
    new = tmp_path / "another place #1" / "out"
    shutil.copytree(output, new)
    before = tree(output)
    if way == "moved":
        shutil.rmtree(output)
    (line,) = prepare_store(new)
    assert str(output) in line
    assert prepare_store(new) == ()
    root = (new / "mlartifacts").as_uri()
    ours = {place for place in artifact_places(new) if "mlartifacts" in place}
    assert len(ours) > 3
    assert all(place.startswith(f"{root}/") for place in ours)

    # In a process of its own: MLflow remembers where a run's files are as long as the process lives.
    code = "import pathlib, test_store_condition as t; t.study_in(pathlib.Path(sys.argv[1]))"
    done = in_another_process(code, new)
    assert done.returncode == 0, done.stderr
    client = MlflowClient(tracking_uri(new))
    (parent,) = client.search_runs(
        [client.get_experiment_by_name("mnist").experiment_id], "tags.level = 'study'"
    )
    assert client.list_artifacts(parent.info.run_id)
    assert parent.info.artifact_uri.startswith(f"{root}/mnist/")
    if way == "copied":
        assert tree(output) == before
    else:
        assert not output.exists()


def test_another_path_to_the_same_folder_changes_nothing(output: Path, tmp_path: Path) -> None:
    study_in(output)
    (tmp_path / "link").symlink_to(output)
    before = artifact_places(output)
    assert prepare_store(tmp_path / "link") == ()
    assert artifact_places(output) == before


def test_files_of_a_user_s_own_experiment_stay_where_they_are(output: Path, tmp_path: Path) -> None:
    client = open_client(tracking_uri(output))
    client.create_experiment("mine", artifact_location=(tmp_path / "mine").as_uri())
    client.create_experiment("remote", artifact_location="s3://bucket/mlartifacts/mnist")
    study_in(output)
    shutil.copytree(output, tmp_path / "copy")
    prepare_store(tmp_path / "copy")
    query = "select name, artifact_location from experiments"
    found = dict(rows(tmp_path / "copy", query))
    assert found["mine"] == (tmp_path / "mine").as_uri()
    assert found["remote"] == "s3://bucket/mlartifacts/mnist"


def test_records_are_those_of_a_complete_study(output: Path) -> None:
    assert not has_records(output.parent / "nowhere", "convnet-1a2b")
    tracker = MlflowTracker.in_folder(output)
    tracker.start_study(made_up_study(output / "convnet-1a2b"))
    assert not has_records(output, "convnet-1a2b")
    tracker.close()
    study_in(output)
    assert has_records(output, "convnet-1a2b")
    assert not has_records(output, "convnet")


def test_a_data_set_may_have_a_long_name(output: Path) -> None:
    study = made_up_study(output / "study", dataset="image_folder:" + "é" * 300)
    study.folder.mkdir()
    (study.folder / "winner.yaml").write_text("rules: []\n")
    tell(MlflowTracker.in_folder(output), study, made_up_verdict(FEW), extra=0)
    assert len(list(output.glob("mlartifacts/*/*/artifacts/winner.yaml"))) == 1
