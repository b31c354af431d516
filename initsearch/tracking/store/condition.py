"""The condition of MLflow's database before it is opened: damaged, moved, without a study's records.

A look by SQLite alone, in milliseconds and before anything is trained. MLflow itself would try for 100 seconds
what cannot be done, and would leave a database that it had half created as it is.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from filelock import FileLock

from initsearch.errors import ConfigError
from initsearch.tracking.store.places import artifact_root, database_path, tracking_uri
from initsearch.tracking.store.relocate import relocate_artifacts


def prepare_store(output_dir: str | os.PathLike[str]) -> tuple[str, ...]:
    """Make the database of an output folder ready to be opened, as far as SQLite can.

    A damaged one is put aside: MLflow's records of a study are made again from the study's own files when
    its command is run. If the folder was moved or copied, the runs' files are looked for where it is now.

    Returns:
        What was done, a line each; none where all was in order, or there is no database yet.

    Raises:
        ConfigError: The database cannot be read or written, or it belongs to another program.
    """
    uri, path = tracking_uri(output_dir), database_path(output_dir)
    if not path.exists():
        return ()
    try:
        with store_lock(path):
            if damage := _damage(path):
                return (put_database_aside(path, damage),)
            check_writable(path)
            return tuple(relocate_artifacts(path, artifact_root(output_dir)))
    except (OSError, sqlite3.Error) as error:
        raise cannot_open(uri, error) from error


def has_records(output_dir: str | os.PathLike[str], study: str) -> bool:
    """Whether MLflow has the complete records of a study, deleted ones among them.

    Args:
        output_dir: The output folder, after `prepare_store`.
        study: The study's name.
    """
    path = database_path(output_dir)
    if not path.exists():
        return False
    query = (
        "SELECT 1 FROM tags AS s JOIN tags AS c USING (run_uuid) JOIN tags AS l USING (run_uuid) "
        "WHERE s.key = 'study' AND s.value = ? AND c.key = 'status' AND c.value = 'complete' "
        "AND l.key = 'level' AND l.value = 'study'"
    )
    try:
        with _connected(path) as database:
            return database.execute(query, (study,)).fetchone() is not None
    except sqlite3.Error as error:
        raise cannot_open(tracking_uri(output_dir), error) from error


def put_database_aside(path: Path, reason: str) -> str:
    """Rename a database that is of no use any more; the line that says so."""
    if path.stat().st_size == 0:
        path.unlink()
        return f"{path} was empty: removed; {_REMADE}"
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    path.rename(aside)
    for suffix in ("-journal", "-wal", "-shm"):  # what SQLite keeps beside a database belongs to it
        beside = path.with_name(path.name + suffix)
        if beside.exists():
            beside.rename(aside.with_name(aside.name + suffix))
    return f"{path} is damaged ({reason}): kept as {aside.name}; {_REMADE}"


_REMADE = "MLflow's records of a study are made again when its command is run"


def check_writable(path: Path) -> None:
    """Begin a transaction and leave it.

    Raises:
        sqlite3.Error: The file is not a database or cannot be written to.
    """
    with _connected(path) as database:
        database.execute("BEGIN IMMEDIATE")
        database.execute("ROLLBACK")


def holds_runs(path: Path) -> bool:
    """Whether there is any run in a database."""
    with _connected(path) as database:
        return database.execute("SELECT 1 FROM runs").fetchone() is not None


def store_lock(path: Path) -> FileLock:
    """Held by the one process that creates, checks or replaces a database."""
    return FileLock(path.with_name(f".{path.name}.lock"))


def cannot_open(uri: str, error: Exception) -> ConfigError:
    """The error that says why a store cannot be opened."""
    return ConfigError(
        f"cannot open the MLflow store {uri!r}: {first_line(error)}; choose another folder: output_dir=PATH"
    )


def first_line(error: Exception) -> str:
    """What an error says first; the lines below are SQL statements and links."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _damage(path: Path) -> str:
    """What makes a database useless, in a few words; empty if nothing does.

    Raises:
        ConfigError: It is sound and another program's.
        sqlite3.OperationalError: It cannot be looked at: locked, or not readable.
    """
    if path.is_file() and path.stat().st_size == 0:
        return "it is empty"
    try:
        with _connected(path) as database:
            (found,) = database.execute("PRAGMA quick_check(1)").fetchone()
            names = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
            versions = (
                "alembic_version" in names
                and database.execute("SELECT version_num FROM alembic_version").fetchall()
            )
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        return str(error)
    if found != "ok":
        return first_line(Exception(found))
    if names and "experiments" not in names:
        raise ConfigError(
            f"{str(path)!r} must be MLflow's database, but it holds another program's tables: choose another "
            "folder, output_dir=PATH"
        )
    # MLflow's own creation is a long series of steps, which a killed process leaves half done.
    if not versions or any(name.startswith("_alembic_tmp_") for name in names):
        return "its creation was interrupted"
    return ""


@contextmanager
def _connected(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection without implicit transactions, which waits up to 30 s for a lock."""
    # By a URI: a plain path would create a file that is not there.
    uri = f"{path.as_uri()}?mode=rw"
    with closing(sqlite3.connect(uri, uri=True, isolation_level=None, timeout=30.0)) as database:
        yield database
