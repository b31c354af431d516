"""Where MLflow keeps its records under an output folder, and how to look at them.

Nothing here loads MLflow, which takes seconds: a finished study only prints where its records are.
"""

import os
import shlex
import shutil
import sys
from pathlib import Path

from initsearch.errors import ConfigError, quoted

#: The folder of all runs' files, below the output folder.
ARTIFACTS = "mlartifacts"


def database_path(output_dir: str | os.PathLike[str]) -> Path:
    """MLflow's database: `<output_dir>/mlflow.db`, absolute."""
    return Path(output_dir).absolute() / "mlflow.db"


def artifact_root(output_dir: str | os.PathLike[str]) -> Path:
    """Where the runs' files go: `<output_dir>/mlartifacts`, absolute."""
    return Path(output_dir).absolute() / ARTIFACTS


def tracking_uri(output_dir: str | os.PathLike[str]) -> str:
    """MLflow's address of an output folder's database.

    Raises:
        ConfigError: The path has a `?`, which starts the query of an address, or a `%`, which some versions
            of SQLAlchemy decode and some do not; escaped, both would make MLflow create a second folder.
    """
    path = database_path(output_dir)
    if found := sorted({"?", "%"} & set(str(path))):
        raise ConfigError(
            f"output_dir must have no '?' and no '%', which MLflow cannot have in an address, but got "
            f"{found[0]!r} in {quoted(str(output_dir))}: choose another folder, output_dir=PATH"
        )
    return f"sqlite:///{path.as_posix()}"


def ui_command(output_dir: str | os.PathLike[str]) -> str:
    """The command that shows an output folder's runs in the browser, ready for the shell.

    It begins with `mlflow` where the shell would find this environment's own, else with the interpreter.
    """
    beside = shutil.which("mlflow", path=str(Path(sys.executable).parent))
    found = shutil.which("mlflow")
    on_path = beside is not None and found is not None and Path(found).samefile(beside)
    program = ["mlflow"] if on_path else [sys.executable, "-m", "mlflow"]
    return shlex.join([*program, "ui", "--backend-store-uri", tracking_uri(output_dir)])
