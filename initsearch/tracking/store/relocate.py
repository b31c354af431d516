"""Output folders that were moved or copied: MLflow's database is made to point to where the folder is.

MLflow stores absolute addresses of files and has no call to change them. They stand in two columns, of
experiments and of runs, which are rewritten in one transaction.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import url2pathname

from initsearch.tracking.store.places import ARTIFACTS


def relocate_artifacts(database: Path, root: Path) -> list[str]:
    """Rewrite the addresses of files that were below another folder `mlartifacts`.

    Addresses of any other form (a server's, another layout) are left alone, and so are those that lead to
    the same folder by another path.

    Args:
        database: MLflow's SQLite file.
        root: The folder of all runs' files as it is now, absolute.

    Returns:
        A line that says from where to where, if anything was rewritten.

    Raises:
        sqlite3.Error: The database cannot be read or written.
    """
    with closing(sqlite3.connect(database, isolation_level=None, timeout=30.0)) as connection:
        moved = list(_moved(connection, root))
        if not moved:
            return []
        connection.execute("BEGIN IMMEDIATE")
        for experiment, old, new in moved:
            connection.execute(
                "UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?",
                (new, experiment),
            )
            connection.execute(
                "UPDATE runs SET artifact_uri = ? || substr(artifact_uri, ?) "
                "WHERE experiment_id = ? AND substr(artifact_uri, 1, ?) = ?",
                (new, len(old) + 1, experiment, len(old) + 1, f"{old}/"),
            )
        connection.execute("COMMIT")
    before = _local(moved[0][1])
    return [
        f"the output folder was at {before and before.parents[1]}: its MLflow records are used here"
    ]


def _moved(connection: sqlite3.Connection, root: Path) -> Iterator[tuple[int, str, str]]:
    """Experiments whose files are below another `mlartifacts`: id, old address, new address."""
    for experiment, address in connection.execute(
        "SELECT experiment_id, artifact_location FROM experiments"
    ).fetchall():
        old = _local(address)
        if old is None or old.parent.name != ARTIFACTS or old.parent == root:
            continue
        if old.parent.exists() and root.exists() and old.parent.samefile(root):
            continue
        yield experiment, address, (root / old.name).as_uri()


def _local(address: str | None) -> Path | None:
    """The folder that an address names; None for one that is not a local file's."""
    parsed = urlparse(address or "")
    if parsed.scheme not in ("", "file") or not parsed.path:
        return None
    return Path(url2pathname(parsed.path) if parsed.scheme else parsed.path)
