"""Where MLflow keeps its records under an output folder, and how to look at them."""

import logging
import os
import shlex
import shutil
import sqlite3
import sys
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext, suppress
from pathlib import Path

from filelock import FileLock
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.exc import SQLAlchemyError

from initsearch.errors import ConfigError


def tracking_uri(output_dir: str | os.PathLike[str]) -> str:
    """MLflow's address of `<output_dir>/mlflow.db`, absolute.

    Raises:
        ConfigError: The path holds a `?`, where an address's query begins, or a `%`, which some
            versions of SQLAlchemy decode and some do not.
    """
    path = Path(output_dir).absolute() / "mlflow.db"
    if found := {"?", "%"} & set(str(path)):
        raise ConfigError(
            f"output_dir must hold no '?' and no '%' for the sake of MLflow's address of it, got "
            f"{found.pop()!r} in {str(output_dir)!r}; choose another folder: output_dir="
        )
    return f"sqlite:///{path.as_posix()}"


def artifact_root(output_dir: str | os.PathLike[str]) -> Path:
    """Where the runs' files go: `<output_dir>/mlartifacts`, absolute."""
    return Path(output_dir).absolute() / "mlartifacts"


def ui_command(output_dir: str | os.PathLike[str]) -> str:
    """The command that shows an output folder's runs in the browser, ready for the shell.

    `mlflow` stands alone where the shell would find this environment's own; else the interpreter is
    named.
    """
    beside = shutil.which("mlflow", path=str(Path(sys.executable).parent))
    found = shutil.which("mlflow")
    on_path = beside is not None and found is not None and Path(found).samefile(beside)
    program = ["mlflow"] if on_path else [sys.executable, "-m", "mlflow"]
    return shlex.join([*program, "ui", "--backend-store-uri", tracking_uri(output_dir)])


def open_client(uri: str) -> MlflowClient:
    """A client for the store at `uri`; a SQLite store is created where there is none.

    Creation takes a few seconds and breaks the file when two processes do it at once, so that it is
    done under a file lock; at most one more process waits.

    Raises:
        ConfigError: The store cannot be opened: an unwritable folder, a file of another kind or of
            another version of MLflow.
    """
    path = Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None
    try:
        if path is None:
            with quiet():
                return MlflowClient(tracking_uri=uri)
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock")), quiet():
            is_new = not path.exists()
            _check_writable(path)
            with _in_one_go() if is_new else nullcontext():
                return MlflowClient(tracking_uri=uri)
    except (OSError, sqlite3.Error, MlflowException, SQLAlchemyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(
            f"cannot open the MLflow store {uri!r}: {reason}; choose another folder: output_dir="
        ) from error


def _check_writable(path: Path) -> None:
    """Begin a transaction and leave it: MLflow would try again for 100 seconds what cannot be done.

    Raises:
        sqlite3.Error: The file is no database or cannot be written to.
    """
    with closing(sqlite3.connect(path, isolation_level=None, timeout=30.0)) as database:
        database.execute("BEGIN IMMEDIATE")
        database.execute("ROLLBACK")


@contextmanager
def _in_one_go() -> Iterator[None]:
    """Create a SQLite store without waiting for the disk after each of MLflow's migrations.

    That takes a quarter of the time. There is nothing yet that a power failure could spoil; once the store
    stands, its connections wait for the disk as usual.
    """
    connections: list[sqlite3.Connection] = []

    def hasten(connection: sqlite3.Connection, record: object) -> None:
        connection.execute("PRAGMA synchronous=OFF")
        connections.append(connection)

    event.listen(Engine, "connect", hasten)
    try:
        yield
    finally:
        event.remove(Engine, "connect", hasten)
        for connection in connections:
            with suppress(sqlite3.Error):  # it is closed by now
                connection.execute("PRAGMA synchronous=FULL")


@contextmanager
def quiet() -> Iterator[None]:
    """Keep a store's creation off the screen: MLflow's steps, SQLAlchemy's own deprecations."""
    logger = logging.getLogger("mlflow.store.db.utils")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", category=DeprecationWarning, module=r"(mlflow|sqlalchemy)\."
            )
            warnings.filterwarnings(
                "ignore", message=r"The ``noload`` loader strategy is deprecated"
            )
            yield
    finally:
        logger.setLevel(level)
