"""One call as a program of its own: `python -m initsearch.execution.program QUESTION ANSWER --lifeline`.

QUESTION is a file with a packed call, ANSWER the file to write. Other ranks of a DDP training, which
Lightning starts by the same command, run the same call and write nothing.
"""

import argparse
import os
import pickle
import sys
from pathlib import Path

from initsearch.execution.call import answer
from initsearch.execution.memory import keep_freed_memory
from initsearch.execution.process import die_with
from initsearch.files import write_whole

#: The environment variable by which a program's children know that it answers the question, not they.
ANSWERED = "INITSEARCH_ANSWERED"


def main() -> int:
    """Run the call of a file and write the answer; the exit status: 1 if the call raised an exception."""
    parser = argparse.ArgumentParser(description="Run one packed call.")
    parser.add_argument("question", type=Path)
    parser.add_argument("answer", type=Path)
    parser.add_argument("--lifeline", action="store_true", help="end when standard input is closed")
    arguments = parser.parse_args()
    if arguments.lifeline:
        die_with(sys.stdin.fileno())
    keep_freed_memory()
    # Whatever launches the ranks, and however it numbers them: the first program is the parent of the others.
    question = str(arguments.question)
    is_first = os.environ.get(ANSWERED) != question
    os.environ[ANSWERED] = question
    result = answer(arguments.question.read_bytes())
    if is_first:
        write_whole(arguments.answer, pickle.dumps(result))
    return int(result.failed)


if __name__ == "__main__":
    sys.exit(main())
