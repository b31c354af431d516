"""MLflow's store: opened, or created where there is none."""

import logging
import sqlite3
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from initsearch.errors import InitSearchError
from initsearch.files import remove_leftovers, written_aside
from initsearch.tracking.store.condition import (
    cannot_open,
    check_writable,
    first_line,
    holds_runs,
    put_database_aside,
    store_lock,
)
from initsearch.tracking.store.interrupts import interrupts_deferred
from initsearch.tracking.store.places import ARTIFACTS


def open_client(uri: str, report: Callable[[str], None] | None = None) -> MlflowClient:
    """A client for the store at `uri`; a SQLite store is created where there is none.

    One process at a time opens or creates a SQLite store, under a file lock: two at once would break it. A
    database without any run that MLflow cannot open is what an interrupted creation left, or of another
    version of MLflow; it is put aside and created again.

    Args:
        uri: `sqlite:///PATH`, or a server's address.
        report: Called with the line that says what was put aside.

    Raises:
        ConfigError: The store cannot be opened: the folder cannot be written to, or the file is of another
            kind or of another version of MLflow.
    """
    path = Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None
    try:
        if path is None:
            with _quiet():
                return MlflowClient(tracking_uri=uri)
        path.parent.mkdir(parents=True, exist_ok=True)
        with store_lock(path), _quiet(), interrupts_deferred(), _noting_engines():
            if not path.exists():
                _create(path)
            check_writable(path)
            try:
                return MlflowClient(tracking_uri=uri)
            except MlflowException as error:
                if holds_runs(path):
                    raise
                line = put_database_aside(path, first_line(error))
            _create(path)
            if report is not None:
                report(line)
            return MlflowClient(tracking_uri=uri)
    except (OSError, sqlite3.Error, MlflowException, SQLAlchemyError) as error:
        raise cannot_open(uri, error) from error


def _create(path: Path) -> None:
    """Create a SQLite store beside its place and move it there when it is complete.

    MLflow takes seconds for it, in many steps; a process that is killed meanwhile leaves no half of a store.
    """
    # The import, under `_quiet`, makes SQLAlchemy warn of MLflow's use of it.
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    remove_leftovers(path)
    root = path.with_name(ARTIFACTS).as_uri()
    with written_aside(path) as temporary, _without_waiting_for_the_disk():
        try:
            SqlAlchemyStore(f"sqlite:///{temporary.as_posix()}", root)  # type: ignore[no-untyped-call]
        finally:
            _close_connections(temporary)
    _close_connections(path)


#: By its path, the engine of each SQLite file that was opened here.
_engines: dict[str, Engine] = {}


@contextmanager
def _noting_engines() -> Iterator[None]:
    """Take note of the engines that connect."""

    def note(connection: Connection) -> None:
        _engines[str(connection.engine.url.database)] = connection.engine

    event.listen(Engine, "engine_connect", note)
    try:
        yield
    finally:
        event.remove(Engine, "engine_connect", note)


def _close_connections(path: Path) -> None:
    """Close the connections to a file that is no longer there.

    MLflow keeps them as long as the process lives, and would use them for the file that takes its place.
    """
    if (engine := _engines.pop(str(path), None)) is not None:
        engine.dispose()


@contextmanager
def _without_waiting_for_the_disk() -> Iterator[None]:
    """Let SQLite not wait for the disk after each of MLflow's migrations, which takes a quarter of the time.

    For a file that is synced as a whole before it is used.
    """

    def hasten(connection: sqlite3.Connection, record: object) -> None:
        connection.execute("PRAGMA synchronous=OFF")

    event.listen(Engine, "connect", hasten)
    try:
        yield
    finally:
        event.remove(Engine, "connect", hasten)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what MLflow and SQLAlchemy say of a store's creation, or of themselves, off the screen."""
    with _without_logs(), warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", category=DeprecationWarning, module=r"(mlflow|sqlalchemy)\."
        )
        warnings.filterwarnings("ignore", message=r"The ``noload`` loader strategy is deprecated")
        yield


@contextmanager
def _without_logs() -> Iterator[None]:
    """Keep MLflow's steps off the screen, and the traceback that it logs of each error that it raises."""
    logger = logging.getLogger("mlflow.store.db.utils")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextmanager
def errors_in_one_line(uri: str) -> Iterator[None]:
    """Let a store that fails in the middle of a study end it with one line.

    Raises:
        InitSearchError: The store, or a run's file, could not be written: the disk is full, the database was
            deleted, a server does not answer.
    """
    try:
        with _without_logs():
            yield
    except (OSError, sqlite3.Error, MlflowException, SQLAlchemyError) as error:
        gone = uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists()
        reason = "the file was deleted or moved" if gone else first_line(error)
        raise InitSearchError(
            f"cannot write to the MLflow store {uri!r}: {reason}; once that is solved, run the same command "
            "again: it resumes, and makes the records that are missing"
        ) from error
