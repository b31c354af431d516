"""Where MLflow keeps its records under an output folder, whether it can, and how to look at them.

Does not load MLflow, which takes seconds: a finished study only says where its records are.
"""

import os
import shlex
import shutil
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from initsearch.errors import ConfigError


def tracking_uri(output_dir: str | os.PathLike[str]) -> str:
    """MLflow's address of `<output_dir>/mlflow.db`, absolute.

    Raises:
        ConfigError: The path holds a `?`, where an address's query begins, or a `%`, which some
            versions of SQLAlchemy decode and some do not.
    """
    path = _database(output_dir)
    if found := {"?", "%"} & set(str(path)):
        raise ConfigError(
            f"output_dir must hold no '?' and no '%' for the sake of MLflow's address of it, got "
            f"{found.pop()!r} in {str(output_dir)!r}; choose another folder: output_dir="
        )
    return f"sqlite:///{path.as_posix()}"


def _database(output_dir: str | os.PathLike[str]) -> Path:
    return Path(output_dir).absolute() / "mlflow.db"


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


def check_store(output_dir: str | os.PathLike[str]) -> None:
    """Tell before anything is trained what would keep MLflow from its store, as far as SQLite can tell.

    Raises:
        ConfigError: A store that is there is no database or cannot be written to.
    """
    uri = tracking_uri(output_dir)
    path = _database(output_dir)
    try:
        if path.exists():
            check_writable(path)
    except (OSError, sqlite3.Error) as error:
        raise cannot_open(uri, error) from error


def check_writable(path: Path) -> None:
    """Begin a transaction and leave it: MLflow would try again for 100 seconds what cannot be done.

    Raises:
        sqlite3.Error: The file is no database or cannot be written to.
    """
    with closing(sqlite3.connect(path, isolation_level=None, timeout=30.0)) as database:
        database.execute("BEGIN IMMEDIATE")
        database.execute("ROLLBACK")


def cannot_open(uri: str, error: Exception) -> ConfigError:
    """The error that says why a store cannot be opened."""
    reason = str(error).strip().splitlines()[0]
    return ConfigError(
        f"cannot open the MLflow store {uri!r}: {reason}; choose another folder: output_dir="
    )
