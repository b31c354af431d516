"""MLflow's store: opened, or created where there is none."""

import logging
import sqlite3
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from filelock import FileLock
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.exc import SQLAlchemyError

from initsearch.tracking.store.interrupts import interrupts_deferred
from initsearch.tracking.store.places import cannot_open, check_writable


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
        # A store that Ctrl-C leaves half made could not be opened again.
        with FileLock(path.with_name(f".{path.name}.lock")), quiet(), interrupts_deferred():
            is_new = not path.exists()
            check_writable(path)
            with _in_one_go() if is_new else nullcontext():
                return MlflowClient(tracking_uri=uri)
    except (OSError, sqlite3.Error, MlflowException, SQLAlchemyError) as error:
        raise cannot_open(uri, error) from error


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
