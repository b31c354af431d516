"""Scores from a CSV file. The header distinguishes three layouts.

```text
candidate,seed,score      seed,he,lecun       candidate,0,1
he,0,0.91                 0,0.91,0.90         he,0.91,0.92
lecun,0,0.90              1,0.92,0.89         lecun,0.90,0.89
```

The first has one row per score, and ignores further columns. The others have one row per seed, or one row per
candidate. Seeds are integers, with or without a prefix (`3`, `seed_3`). An empty cell is a run that does not
exist; `nan`, `inf` or `diverged` is a run that diverged. Cells are separated by commas, semicolons or tabs.
"""

import csv
import io
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from initsearch.errors import DataError

_LAYOUTS = (
    "candidate,seed,score, or seed and one column per candidate, "
    "or candidate and one column per seed"
)
_SEED = re.compile(r"(?:seed[ _-]?)?([+-]?\d+)", re.ASCII | re.IGNORECASE)

Row = tuple[int, list[str]]  # line number, cells


def read_scores(path: Path) -> dict[str, dict[int, float]]:
    """Read a CSV file of scores in one of the layouts above.

    Args:
        path: The file, in UTF-8, with or without a byte order mark.

    Returns:
        Score by candidate and seed, in the order of the file; NaN where a run diverged.

    Raises:
        DataError: The file cannot be read, its header fits no layout, or a cell is not what the header says;
            the message names the line.
    """
    rows = _read_rows(path)
    if not rows:
        raise DataError(f"{path} has no rows: its header must be {_LAYOUTS}")
    scores: dict[str, dict[int, float]] = {}
    for line, candidate, seed_text, cell in _entries(path, rows):
        seed = _SEED.fullmatch(seed_text)
        if seed is None:
            raise DataError(f"{path}, line {line}: a seed must be an integer, got {seed_text!r}")
        if not candidate:
            raise DataError(f"{path}, line {line}: a score needs the name of its candidate")
        by_seed = scores.setdefault(candidate, {})
        if not cell:
            continue
        if int(seed[1]) in by_seed:
            raise DataError(
                f"{path}, line {line}: {candidate} has a second score for seed {seed[1]}; "
                f"keep one of them"
            )
        by_seed[int(seed[1])] = _score(path, line, cell)
    return scores


def _read_rows(path: Path) -> list[Row]:
    """The rows that are not blank; the first is the header."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not a UTF-8 text file: save it as CSV in UTF-8") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; check the path") from error
    header = next((line for line in text.splitlines() if line.strip()), "")
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=max(",;\t", key=header.count), strict=True
    )
    rows = []
    try:
        for cells in reader:
            stripped = [cell.strip().strip("\ufeff").strip() for cell in cells]
            if any(stripped):
                rows.append((reader.line_num, stripped))
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}; check the quotes") from error
    return rows


def _entries(path: Path, rows: Sequence[Row]) -> Iterator[tuple[int, str, str, str]]:
    """Line number, candidate, seed and score of every cell with a score, as texts."""
    (_, header), *body = rows
    while not header[-1]:  # separators at the end of the header
        header = header[:-1]
    names = [name.lower() for name in header]
    first = names[0]
    long = {"candidate", "seed", "score"} <= set(names)
    by_seed = first == "seed" and "candidate" not in names and len(names) > 1
    by_candidate = first == "candidate" and len(names) > 1 and all(map(_SEED.fullmatch, names[1:]))
    if not (long or by_seed or by_candidate):
        raise DataError(f"{path}: the header must be {_LAYOUTS}; got {','.join(header)}")
    for line, cells in body:
        if len(cells) < len(header) or any(cells[len(header) :]):
            raise DataError(
                f"{path}, line {line}: the header has {len(header)} columns, got {len(cells)} cells"
            )
        if long:
            candidate, seed, score = (
                cells[names.index(name)] for name in ("candidate", "seed", "score")
            )
            yield line, candidate, seed, score
            continue
        for column, cell in zip(header[1:], cells[1:], strict=False):
            yield (line, column, cells[0], cell) if by_seed else (line, cells[0], column, cell)


def _score(path: Path, line: int, cell: str) -> float:
    if cell.lower() == "diverged":
        return math.nan
    try:
        return float(cell)
    except ValueError as error:
        raise DataError(
            f"{path}, line {line}: a score must be a number, got {cell!r}; "
            f"write nan for a diverged run, and nothing for one that does not exist"
        ) from error
