"""Run a small part of the tests with the oldest version of each dependency that pyproject.toml allows.

    python scripts/oldest_versions.py                  all of them, in a new environment
    python scripts/oldest_versions.py --folder DIR     keeps the environment, and uses it again
    python scripts/oldest_versions.py --only optuna    the oldest of one, all others as they are

torch and torchvision stay as they are in the environment that runs this: their wheels are large, and one of
them determines the other. Packages that are not installed in the new environment come from that one too. It
takes minutes.
"""

import argparse
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
import venv
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
#: Not installed again.
KEPT = {"torch", "torchvision"}
#: Each library where most of it is used: Optuna's studies, MLflow's records, Lightning, Hydra, SciPy.
TESTS = (
    "tests/test_import.py",
    "tests/test_hydra_app.py",
    "tests/test_callback.py",
    "tests/space",
    "tests/search/test_trials.py",
    "tests/search/test_study.py",
    "tests/tracking",
    "tests/race/test_race.py",
    "tests/audit",
)


def lower_bounds(text: str) -> dict[str, str]:
    """The lowest version of each dependency, from the text of a pyproject.toml.

    Raises:
        ValueError: A dependency without a lower bound.
    """
    found: dict[str, str] = {}
    for entry in tomllib.loads(text)["project"]["dependencies"]:
        match = re.match(r"([\w.-]+)>=([\w.]+)", entry)
        if match is None:
            raise ValueError(f"{entry!r} has no lower bound: write NAME>=VERSION")
        found[match[1]] = match[2]
    return found


def environment(folder: Path) -> str:
    """Make an environment that finds what it has not itself in this one; returns its Python."""
    venv.create(folder, with_pip=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = folder / "lib" / version / "site-packages"
    # A .pth file adds its folders after the environment's own: what is installed there comes first.
    here = sysconfig.get_path("purelib")
    (site / "rest.pth").write_text(f"{here}\n", encoding="utf-8")
    return str(folder / "bin" / "python")


def check(folder: Path, only: list[str]) -> int:
    """Install the oldest versions and run the tests; returns pytest's exit status."""
    bounds = lower_bounds((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = {name: bounds[name] for name in only} if only else bounds
    pinned = [f"{name}=={version}" for name, version in wanted.items() if name not in KEPT]
    python = environment(folder)
    subprocess.run([python, "-m", "pip", "install", "--quiet", *pinned], check=True)
    names = ", ".join(f"{name!r}" for name in bounds)
    shown = f"from importlib.metadata import version as v\nfor n in ({names},): print(n, v(n))"
    subprocess.run([python, "-c", shown], check=True)
    variables = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    # Old libraries warn of their own calls into others.
    settings = ["-n", "0", "-p", "no:cacheprovider", "-q", "-m", "not slow", "-W", "default"]
    tests = [*settings, *TESTS]
    return subprocess.run(
        [python, "-m", "pytest", *tests], cwd=REPOSITORY, env=variables
    ).returncode


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--folder", type=Path, help="the environment's folder; default: a new one")
    parser.add_argument("--only", action="append", default=[], help="a dependency; may be repeated")
    given = parser.parse_args()
    if given.folder is not None:
        return check(given.folder, given.only)
    with tempfile.TemporaryDirectory() as folder:
        return check(Path(folder), given.only)


if __name__ == "__main__":
    sys.exit(main())
