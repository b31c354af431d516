"""Files that are written whole or not at all."""

import os
from pathlib import Path


def write_whole(path: str | os.PathLike[str], content: str | bytes) -> Path:
    """Write a file so that a reader never sees half of it.

    The content goes to a temporary file beside the target, which is then moved into place: an interrupted
    write leaves the old file as it was.

    Args:
        path: The file; missing folders are made.
        content: What the file holds; text is written as UTF-8.

    Returns:
        The path that was written.

    Raises:
        OSError: The folder cannot be written to.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    # The process id keeps two writers of one file apart; the last move wins, with a whole file.
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return target
