"""A folder of images by class, decoded once and cached in a file for later processes."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.datasets.folder import IMG_EXTENSIONS

from initsearch.digests import hex_digest
from initsearch.errors import ConfigError, DataError
from initsearch.tasks.data.cached import cached
from initsearch.tasks.data.decode import decode
from initsearch.tasks.data.images import ImageData, LabelledImages, assemble
from initsearch.tasks.data.settings import DataSettings, cache_folder
from initsearch.tasks.data.split import hold_out

# What the parts of a data set may be called, in small or capital letters.
_TRAIN, _VAL, _TEST = ("train", "training"), ("val", "valid", "validation"), ("test", "testing")


class _Listing(NamedTuple):
    """Image files with the number of their class, the test set's after the others."""

    files: list[str]
    labels: Tensor
    n_test: int
    classes: tuple[str, ...]


def load(settings: DataSettings) -> ImageData:
    """The images of a folder, uint8 (N, C, H, W): C is 1 if every file is gray, else 3.

    The folder has a sub-folder of images per class. Or it has `train/` with such sub-folders, and beside it
    `test/` or `val/` with the same classes as the official test set (with all three, `val/` is part of the
    training images, from which each block draws its own validation). They may also be called `training/`,
    `testing/`, `valid/` or `validation/`, and be written in capitals. Without a test set, a stratified
    sixth is held out, the same in every run.

    Decoded images are cached in the user's cache folder until the folder's files change.

    Raises:
        ConfigError: `settings.root` is missing.
        DataError: There is no such folder, it has no images by class, a file is in two classes or parts,
            a file cannot be decoded, or the images differ in size and `settings.image_size` is not given.
    """
    if settings.root is None:
        raise ConfigError(
            "data.root must name the folder of images for data=image_folder, but got None: "
            "give data.root=path/to/images"
        )
    folder = settings.folder.resolve()
    listing = _list_images(folder)
    # One file per folder and size: it is replaced when images change.
    key = hex_digest(f"{folder}\0{settings.image_size}", 8)
    x = cached(
        cache_folder() / "decoded" / f"{folder.name}-{key}.pt",
        _fingerprint(listing.files),
        lambda: decode(listing.files, settings.image_size),
    )
    y, n_test, classes = listing.labels, listing.n_test, listing.classes
    if n_test:
        train = LabelledImages(x[:-n_test], y[:-n_test])
        test = LabelledImages(x[-n_test:], y[-n_test:])
    else:
        train, test = (LabelledImages(x[i], y[i]) for i in hold_out("image_folder", y, classes))
    return assemble("image_folder", train, test, classes, str(folder))


def _list_images(folder: Path) -> _Listing:
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}: point data.root= at a folder of images")
    train, test = _parts(folder)
    classes = _class_folders(train[0])
    if len(classes) < 2:
        raise DataError(
            f"{train[0]} must have a sub-folder of images for each of 2 classes or more, but has "
            f"{classes}: point data.root= at a folder of images by class"
        )
    numbers = {name: number for number, name in enumerate(classes)}
    samples: list[tuple[str, int]] = []
    names: dict[Path, str] = {}  # by the file that it leads to, the name under which it is listed
    n_train = 0
    for part in (*train, *test):
        if not _class_folders(part):
            raise DataError(
                f"{part} must have its images in sub-folders by class, as {train[0]} does, but has none: "
                "sort them, or move that folder elsewhere"
            )
        foreign = sorted(set(_class_folders(part)) - set(classes))
        if foreign:
            raise DataError(
                f"{part} has classes that {train[0]} does not have ({', '.join(foreign)}): "
                "rename or remove those folders"
            )
        for name in classes:
            found = _images_of(part / name, names)
            if not found:
                raise DataError(
                    f"{part} must have an image of each class, but found none for the class {name}: add "
                    f"images ({', '.join(IMG_EXTENSIONS)}), or remove the class"
                )
            samples += [(file, numbers[name]) for file in found]
        if part in train:
            n_train = len(samples)
    files = [file for file, _ in samples]
    labels = torch.tensor([number for _, number in samples])
    return _Listing(files, labels, len(files) - n_train, tuple(classes))


def _images_of(folder: Path, names: dict[Path, str]) -> list[str]:
    """The image files of one class in one part of the data set, in the order of their names.

    Args:
        folder: The class's folder.
        names: All files of the data set that were found before; those found here are added.

    Raises:
        DataError: A file belongs to another class or part as well.
    """
    found: list[str] = []
    # os.walk does not follow links: one that leads to a parent would list the whole data set again.
    for place, _, files in sorted(os.walk(folder)):
        for file in sorted(files):
            path = Path(place, file)
            if not file.lower().endswith(IMG_EXTENSIONS):
                continue
            if path.exists() and not path.is_file():
                continue  # reading a named pipe would never end
            target = path.resolve()
            if target not in names:
                names[target] = str(path)
                found.append(str(path))
            elif not Path(names[target]).is_relative_to(folder):
                raise DataError(
                    f"each image must belong to one class and one part, but {path} and {names[target]} are "
                    "the same file: remove one of them"
                )
    return found


def _parts(folder: Path) -> tuple[list[Path], list[Path]]:
    """The folders to train on and those to test on (empty: to be held out)."""
    train = _part(folder, _TRAIN, by_class=True)
    if not train:
        return [folder], []
    held_out = [*_part(folder, _TEST), *_part(folder, _VAL)]
    if not held_out:
        others = (folder / name for name in _class_folders(folder) if folder / name not in train)
        if beside := ", ".join(other.name for other in others if _has_image(other)):
            raise DataError(
                f"{folder} may be a data set with {train[0].name} as its part to train on, or one with "
                f"the classes {train[0].name} and {beside}: move {beside} elsewhere, or rename "
                f"{train[0].name}"
            )
    return [*train, *held_out[1:]], held_out[:1]


def _part(folder: Path, names: Sequence[str], by_class: bool = False) -> list[Path]:
    """The sub-folder with one of the names, as a list of one; an empty list if there is no such folder.

    Args:
        folder: Where to look.
        names: In small letters.
        by_class: Whether it must have sub-folders itself.
    """
    found = sorted(e for e in folder.iterdir() if e.is_dir() and e.name.lower() in names)
    if by_class:
        found = [each for each in found if _class_folders(each)]
    if len(found) > 1:
        raise DataError(
            f"{folder} has {' and '.join(e.name for e in found)}, which mean the same part of a data set: "
            "rename or remove one of them"
        )
    return found


def _has_image(folder: Path) -> bool:
    return any(file.suffix.lower() in IMG_EXTENSIONS for file in folder.rglob("*"))


def _class_folders(folder: Path) -> list[str]:
    # Hidden folders (.ipynb_checkpoints, .git) belong to tools.
    return sorted(e.name for e in folder.iterdir() if e.is_dir() and not e.name.startswith("."))


def _fingerprint(files: Sequence[str]) -> str:
    """Changes when a file is added, removed, renamed or written to."""
    digest = hashlib.sha256()
    for file in files:
        try:
            status = Path(file).stat()
        except OSError as error:  # a broken link, say
            raise DataError(
                f"{file} cannot be read ({error.strerror}): replace or remove that file"
            ) from error
        digest.update(f"{file}\0{status.st_mtime_ns}\0{status.st_size}\n".encode())
    return digest.hexdigest()
