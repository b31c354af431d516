"""The task `text`: the character that follows each character of a text."""

from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field

from initsearch.digests import hex_digest
from initsearch.errors import ConfigError, DataError
from initsearch.settings import one_of
from initsearch.tasks.data.examples import Examples, ExampleSettings, held_out
from initsearch.tasks.streams import derive_seed

NAMES = ("inventory", "text_file")
#: What the generated text is about.
PEOPLE = ("ada", "ben", "carl", "dora", "emil", "fay", "gus", "hanna")
COLOURS = ("red", "blue", "green", "black", "white", "grey")
THINGS = ("apples", "balls", "cups", "dogs", "eggs", "forks", "goats", "hats")


class TextSettings(ExampleSettings):
    """The config group `data` of the task `text`.

    Attributes:
        name: `inventory`: a generated text about who has how many of what, with questions that can be answered
            from the sentence before; see `inventory`. `text_file`: a file of one's own.
        path: The file of `text_file`, UTF-8.
        length: Characters of a window. Windows do not overlap.
        characters: How many characters are generated, or read from the beginning of the file.
        train_size: Windows to train on; see `ExampleSettings`.
        val_size: Windows to validate on; see `ExampleSettings`.
    """

    name: Annotated[str, one_of("data", NAMES)] = "inventory"
    path: str | None = None
    length: Annotated[int, Field(ge=2)] = 64
    characters: Annotated[int, Field(ge=100)] = 120_000

    def load(self) -> Examples:
        """Windows of the text, each with itself one character later; a random sixth is the test set.

        Raises:
            ConfigError: The file's path is missing.
            DataError: The file cannot be read, or is too short.
        """
        text = inventory(self.characters) if self.name == "inventory" else self._file()
        name = self.name if self.path is None else f"text:{Path(self.path).stem}"
        alphabet = sorted(set(text))
        number = {character: place for place, character in enumerate(alphabet)}
        codes = torch.tensor([number[character] for character in text])
        windows = (len(codes) - 1) // self.length
        if windows < 12:
            raise DataError(
                f"data.path must have 12 windows of data.length={self.length} characters at least, but "
                f"{name} has {len(text)} characters: give a longer text"
            )
        end = windows * self.length
        x = codes[:end].view(windows, self.length)
        y = codes[1 : end + 1].view(windows, self.length)
        return Examples(
            name,
            hex_digest(text, 8),
            *held_out(x, y, "tokens", name),
            kind="tokens",
            outputs=len(alphabet),
            main="bits_per_token",
            classes=tuple(alphabet),
        )

    def _file(self) -> str:
        if self.path is None:
            raise ConfigError("data.path must be set for data=text_file: data.path=book.txt")
        try:
            return Path(self.path).expanduser().read_text(encoding="utf-8")[: self.characters]
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(
                f"data.path must be a text file in UTF-8, but {self.path!r} cannot be read ({error}): "
                "correct the path"
            ) from error


def inventory(characters: int) -> str:
    """A text of so many characters, always the same: `ada has 3 red cups and 7 hats. how many cups? 3.`

    Spelling is learned from the last few characters. Only a net that looks back to the sentence before answers
    the question.
    """
    generator = torch.Generator().manual_seed(derive_seed("inventory"))

    def one_of_(words: tuple[str, ...]) -> str:
        return words[int(torch.randint(len(words), (), generator=generator))]

    parts: list[str] = []
    size = 0
    while size < characters:
        order = torch.randperm(len(THINGS), generator=generator)[:2].tolist()
        counts = torch.randint(2, 10, (2,), generator=generator).tolist()
        things = [THINGS[place] for place in order]
        asked = int(torch.randint(2, (), generator=generator))
        part = (
            f"{one_of_(PEOPLE)} has {counts[0]} {one_of_(COLOURS)} {things[0]} and {counts[1]} {things[1]}. "
            f"how many {things[asked]}? {counts[asked]}.\n"
        )
        parts.append(part)
        size += len(part)
    return "".join(parts)[:characters]
