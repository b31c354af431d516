"""Runs a program of initsearch with Ctrl-C at one of the modules that it looks for."""

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
#: Counts from the program's first statement on, which is to handle Ctrl-C.
PRESSED = """
import runpy, signal, sys
class Press:
    left = int(sys.argv.pop(1))
    def find_spec(self, name, path=None, target=None):
        if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
            Press.left -= 1
            if Press.left == 0:
                signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Press())
runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
"""


def pressed(at: int, module: str, *words: str) -> tuple[int, str, str]:
    """The exit status, output and errors of `python -m MODULE WORDS` with Ctrl-C at its module number `at`."""
    done = subprocess.run(
        [sys.executable, "-c", PRESSED, str(at), module, *words],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr
