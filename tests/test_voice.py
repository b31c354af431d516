"""Comments, docstrings, messages and documents use the words of today's technical English."""

import functools
import io
import re
import subprocess
import tokenize
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
# From Python 3.12, an f-string is several tokens.
PROSE = {tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}
TEXTS = (".md", ".yaml", ".yml", ".toml")

#: Words that read as another century's, each with what to write instead.
OLD_WORDS = {
    r"told": "reported, passed, said",
    r"anew": "again, from scratch",
    r"shall": "must, will",
    r"whoever": "who, a user who",
    r"gone on|goes on": "resumed, continues",
    r"for want of": "without",
    r"as good as equal": "equivalent",
    r"thereby|hereby|whence|whereof|lest|hence|in vain": "by this, so",
}


def tracked(*endings: str) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    if listed.returncode:  # a source archive, which has no git
        paths = [path for path in REPOSITORY.rglob("*") if path.is_file()]
    else:
        paths = [REPOSITORY / name for name in listed.stdout.split("\0") if name]
    return [path for path in paths if path.suffix in endings and path != Path(__file__).resolve()]


@functools.cache
def prose(path: Path) -> str:
    """A document's text, or the comments and strings of a Python file, one line for one line."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        return text
    lines = [""] * (text.count("\n") + 2)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in PROSE:
            for place, line in enumerate(token.string.split("\n"), token.start[0] - 1):
                lines[place] += f" {line}"
    return "\n".join(lines)


def found(text: str, pattern: str) -> list[int]:
    matches = re.finditer(rf"\b(?:{pattern})\b", text, re.IGNORECASE)
    return [1 + text.count("\n", 0, match.start()) for match in matches]


@pytest.mark.parametrize(("pattern", "instead"), OLD_WORDS.items())
def test_no_text_uses_an_old_word(pattern: str, instead: str) -> None:
    places = [
        f"{path.relative_to(REPOSITORY)}:{line}"
        for path in tracked(".py", *TEXTS)
        for line in found(prose(path), pattern)
    ]
    assert not places, f"{pattern}: write {instead} in {', '.join(places)}"


def test_comments_and_strings_are_read_and_names_are_not(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text('told = 1  # told\n"""One.\n\nTold."""\n', encoding="utf-8")
    assert found(prose(tmp_path / "a.py"), "told") == [1, 4]
