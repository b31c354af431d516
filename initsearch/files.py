"""Files that are whole or not there: written aside, synced to disk, then moved into place."""

import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from initsearch.digests import hex_digest

Content = TypeVar("Content")


@contextmanager
def written_aside(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Let a file be written under a temporary name, and move it into place when that is done.

    The content is synced to disk before the move, and the folder after it: after a power cut there is
    the old file or the new one, never half of it. If the body raises, the old file stays as it was.

    Args:
        path: The file; missing folders are made.

    Yields:
        The temporary path, in the same folder, that the body writes.

    Raises:
        OSError: The folder cannot be written to.

    Example:
        >>> with written_aside("state.pt") as temporary:
        ...     torch.save(state, temporary)
    """
    target = Path(path)
    _make_folder(target.parent)
    # Process and thread keep two writers of one file apart: the last move wins, with a whole file. The
    # name is a hash, since a long one with a suffix could be too long for the file system.
    writer = f"{os.getpid()}-{threading.get_ident()}"
    temporary = target.with_name(f".{hex_digest(target.name, 4)}.{writer}.tmp")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(target.parent)


def remove_leftovers(path: str | os.PathLike[str]) -> None:
    """Remove what killed processes left of writing a file; nobody may be writing it now."""
    target = Path(path)
    for leftover in target.parent.glob(f".{hex_digest(target.name, 4)}.*.tmp*"):
        leftover.unlink()


def short_name(name: str, most: int = 200) -> str:
    """A name that a file may have: one of more than `most` bytes is cut, and ends in a digest of the whole.

    File systems take 255 bytes, of which suffixes and temporary names need some.

    Args:
        name: Without slashes.
        most: Bytes of UTF-8 at most.
    """
    encoded = name.encode()
    if len(encoded) <= most:
        return name
    ending = f"-{hex_digest(name, 4)}"
    return encoded[: most - len(ending)].decode(errors="ignore") + ending


def write_whole(path: str | os.PathLike[str], content: str | bytes) -> Path:
    """Write a text (as UTF-8) or bytes to a file, whole or not at all; see `written_aside`.

    Returns:
        The path that was written.

    Raises:
        OSError: The folder cannot be written to.
    """
    with written_aside(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
    return Path(path)


def put_aside(path: str | os.PathLike[str]) -> Path:
    """Rename a damaged file, so that it can be written again and looked at later.

    Returns:
        Its new path: the old name with `.damaged` at the end; an earlier one of that name is replaced.

    Raises:
        OSError: The folder cannot be written to.
    """
    return Path(path).replace(f"{os.fspath(path)}.damaged")


def read_whole(
    path: Path, parse: Callable[[bytes], Content], report: Callable[[str], None]
) -> Content | None:
    """What a file holds, or None if it is missing or damaged; a damaged one is put aside.

    A power cut can leave a file that was not synced to disk empty, cut or full of zeros.

    Args:
        path: The file.
        parse: Reads its bytes; raises a `ValueError`, `KeyError`, `TypeError`, `AttributeError` or
            `RecursionError` if they are not what was written.
        report: Gets one line about a damaged file.

    Raises:
        OSError: The file exists but cannot be read, or cannot be renamed.
    """
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        return parse(data)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        aside = put_aside(path)
        report(
            f"{path} is damaged and was renamed to {aside.name}: what it held is worked out again"
        )
        return None


def _make_folder(folder: Path) -> None:
    """Make a folder and its parents, each synced: they are still there after a power cut."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    """Write a folder's list of files to disk, where the system can."""
    if not hasattr(os, "O_DIRECTORY"):  # Windows, which has no such call and needs none
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems cannot
            raise
    finally:
        os.close(descriptor)
