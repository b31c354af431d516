"""Draw the floors of initsearch from the import contract that holds them.

The rooms and their order come from the `layers` contract in pyproject.toml, each room's job from the
first sentence of its docstring. No module of initsearch is imported.

    python scripts/draw_floors.py
"""

import ast
import json
import re
import textwrap
import tomllib
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

REPOSITORY = Path(__file__).resolve().parents[1]
PICTURE = REPOSITORY / ".github" / "pictures" / "floors.svg"
PACKAGE = "initsearch"
PER_ROW = 4  # a floor with more rooms has several rows

# Lengths in inches, sizes of text in points.
WIDTH = 11.0
GAP = 0.12
LABEL = 0.45  # the column of floor numbers
LINE = 0.165
NAME_SIZE, JOB_SIZE = 10.5, 8.5
CHARACTER = 0.074  # the mean width of a character of JOB_SIZE
BAND, ROOM, EDGE, TEXT = "#e8eef4", "#ffffff", "#7d93a8", "#1f2d3a"


@dataclass(frozen=True)
class Room:
    """A package or a module of initsearch.

    Attributes:
        name: Its name inside `initsearch`; that of a package ends in a slash.
        job: The first sentence of its docstring.
    """

    name: str
    job: str


def floors() -> list[list[Room]]:
    """The rooms of each floor, the ground floor first."""
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    (layers,) = (contract["layers"] for contract in contracts if contract["type"] == "layers")
    return [[_room(name) for name in re.split(r"\s*[:|]\s*", floor)] for floor in reversed(layers)]


def content(found: list[list[Room]]) -> list[list[list[str]]]:
    """What the picture of these floors shows: per floor, the name and the job of each room."""
    return [[[room.name, room.job] for room in floor] for floor in found]


def content_of(picture: Path) -> object:
    """The content that a picture was drawn from, which it carries as its description."""
    description = ElementTree.parse(picture).find(
        ".//{http://purl.org/dc/elements/1.1/}description"
    )
    if description is None or description.text is None:
        raise ValueError(f"{picture} has no description: run scripts/draw_floors.py")
    return json.loads(description.text)


def draw(found: list[list[Room]], path: Path) -> None:
    """Write the picture as an SVG file: one band per floor, the ground floor at the bottom."""
    bands = [_rows(floor) for floor in found]
    heights = [sum(map(_height, band)) + GAP * (len(band) + 1) for band in bands]
    height = sum(heights) + GAP * (len(bands) + 1)
    figure = Figure(figsize=(WIDTH, height))
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0), xlim=(0, WIDTH), ylim=(0, height))
    axes.set_axis_off()

    def box(x: float, y: float, wide: float, high: float, color: str, edge: str) -> None:
        shape = FancyBboxPatch(
            (x, y), wide, high, boxstyle="round,pad=0,rounding_size=0.06", fc=color, ec=edge, lw=0.8
        )
        axes.add_patch(shape)

    bottom = GAP
    for number, (band, high) in enumerate(zip(bands, heights, strict=True)):
        box(GAP, bottom, WIDTH - 2 * GAP, high, BAND, BAND)
        middle = bottom + high / 2
        axes.text(
            GAP + LABEL / 2, middle, str(number), size=13, color=EDGE, ha="center", va="center"
        )
        top = bottom + high - GAP
        wide = _width(len(band[0]))
        for row in band:
            for column, (room, job) in enumerate(row):
                x = GAP + LABEL + column * (wide + GAP)
                box(x, top - _height(row), wide, _height(row), ROOM, EDGE)
                axes.text(
                    x + GAP, top - LINE, room.name, size=NAME_SIZE, color=TEXT, weight="bold", va="center"
                )  # fmt: skip
                for line, text in enumerate(job, start=2):
                    axes.text(
                        x + GAP, top - 0.05 - line * LINE, text, size=JOB_SIZE, color=TEXT, va="center"
                    )  # fmt: skip
            top -= _height(row) + GAP
        bottom += high + GAP
    metadata = {"Description": json.dumps(content(found)), "Date": None, "Creator": None}
    # Text as text: a small file with readable differences, in the reader's own font.
    with mpl.rc_context({"svg.hashsalt": PACKAGE, "svg.fonttype": "none"}):
        figure.savefig(path, metadata=metadata, facecolor="white")


def _room(module: str) -> Room:
    path = REPOSITORY.joinpath(*module.split("."))
    is_package = path.is_dir()
    source = path / "__init__.py" if is_package else path.with_suffix(".py")
    doc = ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or ""
    sentence = re.split(r"(?<=\.)\s", " ".join(doc.replace("`", "").split()), maxsplit=1)[0]
    name = module.removeprefix(f"{PACKAGE}.") + ("/" if is_package else "")
    return Room(name, sentence.removesuffix("."))


def _rows(floor: list[Room]) -> list[list[tuple[Room, list[str]]]]:
    """The rooms of a floor in rows, each with the lines of its job."""
    count = -(-len(floor) // PER_ROW)
    size = -(-len(floor) // count)
    characters = int((_width(size) - 2 * GAP) / CHARACTER)
    rooms = [(room, textwrap.wrap(room.job, characters)) for room in floor]
    return [rooms[at : at + size] for at in range(0, len(rooms), size)]


def _width(rooms: int) -> float:
    """The width of a room in a row of so many."""
    return (WIDTH - 2 * GAP - LABEL - GAP * rooms) / rooms


def _height(row: list[tuple[Room, list[str]]]) -> float:
    return LINE * (1.6 + max(len(job) for _, job in row)) + GAP


if __name__ == "__main__":
    draw(floors(), PICTURE)
