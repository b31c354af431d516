"""The files by which a program gets calls and gives answers."""

from pathlib import Path


def question_file(folder: Path, number: int) -> Path:
    """Where a question is written, whole."""
    return folder / f"question-{number}"


def answer_file(folder: Path, number: int) -> Path:
    """Where its answer is written, whole: an `Answer`, and whether the program waits for another question."""
    return folder / f"answer-{number}"
