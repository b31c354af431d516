"""The files by which a program gets calls and gives answers."""

from pathlib import Path


def question_file(folder: Path, number: int) -> Path:
    """Where a question is written, whole."""
    return folder / f"question-{number}"


def answer_file(folder: Path, number: int) -> Path:
    """Where its answer is written, whole: an `Answer`, and whether the program waits for another question."""
    return folder / f"answer-{number}"


def last_question(folder: Path) -> int:
    """The number of the last question."""
    return max(int(path.name.rpartition("-")[2]) for path in folder.glob("question-*"))
