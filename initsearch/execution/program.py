"""One call as a program of its own: `python -m initsearch.execution.program QUESTION ANSWER --lifeline`.

QUESTION is a file with a packed call, ANSWER the file to write. Lightning starts the other ranks of a DDP
training by the same command: they run the same call, and only a failure of theirs is an answer.
"""

import argparse
import os
import pickle
import sys
from functools import partial
from pathlib import Path

from initsearch.execution.call import answer
from initsearch.execution.memory import keep_freed_memory
from initsearch.execution.worker import die_with
from initsearch.files import write_whole

#: The environment variable by which a program that runs the same question knows that its parent answers it.
ANSWERED = "INITSEARCH_ANSWERED"


def main() -> int:
    """Run the call of a file and write the answer; the exit status: 1 if the call raised an exception."""
    parser = argparse.ArgumentParser(description="Run one packed call.")
    parser.add_argument("question", type=Path)
    parser.add_argument("answer", type=Path)
    parser.add_argument("--lifeline", action="store_true", help="end when standard input is closed")
    arguments = parser.parse_args()
    if arguments.lifeline:
        die_with(partial(os.read, sys.stdin.fileno(), 1))
    keep_freed_memory()
    # This does not depend on how a launcher numbers its ranks: the first program is the parent of the others.
    question = str(arguments.question)
    is_first = os.environ.get(ANSWERED) != question
    os.environ[ANSWERED] = question
    result = answer(arguments.question.read_bytes())
    # The first failure counts: it is the cause of those that follow, or of the end of all ranks.
    counts = is_first if not result.failed else not arguments.answer.exists()
    if counts:
        write_whole(arguments.answer, pickle.dumps(result))
    return int(result.failed)


if __name__ == "__main__":
    sys.exit(main())
