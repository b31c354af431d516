"""Calls as a program of their own: `python -m initsearch.execution.program FOLDER --lifeline`.

FOLDER holds `question-N`, a packed call, and gets `answer-N`. Lightning starts the other ranks of a DDP
training by the same command: they run the same calls, and only a failure of theirs is an answer.

Where a call has joined the ranks in a process group of `torch.distributed`, they stay and wait for the next
call: importing torch and joining costs seconds, a call often less. A program that is not joined, or whose call
failed, ends after its answer.
"""

import argparse
import os
import pickle
import sys
import time
from functools import partial
from pathlib import Path

from initsearch.execution.call import Answer, answer
from initsearch.execution.memory import keep_freed_memory
from initsearch.execution.questions import answer_file, last_question, question_file
from initsearch.execution.worker import die_with
from initsearch.files import write_whole

#: The environment variable by which a program that runs the same questions knows that its parent answers them.
ANSWERED = "INITSEARCH_ANSWERED"
#: Seconds between two looks for the next question.
PAUSE = 0.01


def main() -> int:
    """Run the calls of a folder and write the answers; the exit status: 1 if a call raised an exception."""
    parser = argparse.ArgumentParser(description="Run packed calls.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--lifeline", action="store_true", help="end when standard input is closed")
    arguments = parser.parse_args()
    if arguments.lifeline:
        die_with(partial(os.read, sys.stdin.fileno(), 1))
    keep_freed_memory()
    folder: Path = arguments.folder
    # This does not depend on how a launcher numbers its ranks: the first program is the parent of the others.
    is_first = os.environ.get(ANSWERED) != str(folder)
    os.environ[ANSWERED] = str(folder)
    # A rank that is started in the middle joins the call that is running.
    number = last_question(folder)
    while True:
        result = answer(_question(folder, number))
        stays = not result.failed and _is_joined()
        _write(folder, number, result, stays=stays, is_first=is_first)
        if not stays:
            return int(result.failed)
        number += 1


def _question(folder: Path, number: int) -> bytes:
    """A question, once it is there; this process ends with its lifeline."""
    path = question_file(folder, number)
    while not path.exists():
        time.sleep(PAUSE)
    return path.read_bytes()


def _write(folder: Path, number: int, result: Answer, *, stays: bool, is_first: bool) -> None:
    path = answer_file(folder, number)
    # The first failure counts: it is the cause of those that follow, or of the end of all ranks.
    if is_first if not result.failed else not path.exists():
        write_whole(path, pickle.dumps((result, stays)))


def _is_joined() -> bool:
    """Whether a call has joined this process with others; this room itself does not import torch."""
    distributed = sys.modules.get("torch.distributed")
    return bool(distributed and distributed.is_available() and distributed.is_initialized())


if __name__ == "__main__":
    sys.exit(main())
