"""What the room needs: the standard library."""

import subprocess
import sys

MODULES = [
    f"initsearch.execution.{name}"
    for name in ("base", "local", "processes", "program", "registry", "worker")
]


def loaded_after(code: str) -> set[str]:
    """Top-level packages that are loaded after the code ran in a fresh interpreter."""
    text = f"{code}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    return set(done.stdout.split()) - {"__mp_main__"}  # multiprocessing's name for the script


def test_executors_load_nothing_but_the_standard_library() -> None:
    loaded = loaded_after(f"import {', '.join(MODULES)}") - loaded_after("pass")
    assert loaded - sys.stdlib_module_names == {"initsearch"}
