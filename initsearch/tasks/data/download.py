"""Download a data set within a time limit, completely or not at all."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from initsearch.errors import DataError
from initsearch.tasks.data.settings import DataSettings

_FETCH = Path(__file__).with_name("fetch.py")


class MissingDataError(DataError):
    """A data set is neither on disk nor downloadable: a fallback may replace it."""


def ensure(name: str, torchvision_name: str, files: Sequence[Path], settings: DataSettings) -> None:
    """Make sure that the files of a data set are on disk, by a download if needed.

    torchvision downloads in a process of its own, since it has no time limit and a thread cannot be
    stopped. It writes to a temporary folder; files are moved into place when all have arrived. A lock file
    makes other processes wait for the one that downloads.

    Args:
        name: The data set as the user knows it.
        torchvision_name: Its class in `torchvision.datasets`.
        files: The files that are needed.
        settings: Where they are, and how long a download may take.

    Raises:
        MissingDataError: Some file is missing and could not be downloaded.
    """
    if not _missing(files):
        return
    if not settings.download:
        raise _error(name, files, settings, "data.download is false")
    root = settings.folder
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / f".{name}.lock", timeout=settings.deadline):
            if _missing(files):
                _download(torchvision_name, root, settings)
    except Timeout as error:
        reason = f"another process held {error.lock_file} for {settings.deadline:g} s"
        raise _error(name, files, settings, reason) from error
    except (OSError, RuntimeError) as error:
        raise _error(name, files, settings, str(error)) from error
    if _missing(files):
        raise _error(name, files, settings, "the download did not contain it")


def _missing(files: Sequence[Path]) -> list[Path]:
    return [file for file in files if not file.is_file()]


def _error(
    name: str, files: Sequence[Path], settings: DataSettings, reason: str
) -> MissingDataError:
    root = settings.folder
    return MissingDataError(
        f"data set {name!r} is not in {root} ({_missing(files)[0].relative_to(root)} is missing) "
        f"and was not downloaded ({reason}): point data.root= at a copy, set "
        "data.fallback=digits, or choose data=digits"
    )


def _download(torchvision_name: str, root: Path, settings: DataSettings) -> None:
    """Download into a temporary folder, then move each file into place.

    Raises:
        RuntimeError: The download failed, stopped moving or took too long.
        OSError: A folder cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix=".download-", dir=root) as temporary:
        folder = Path(temporary) / "data"  # made by torchvision, just before it connects
        _run_fetch(torchvision_name, folder, settings)
        for file in sorted(folder.rglob("*")):
            # Only what was extracted is kept, not the archives.
            if file.is_file() and file.suffix != ".gz":
                target = root / file.relative_to(folder)
                target.parent.mkdir(parents=True, exist_ok=True)
                file.replace(target)


def _run_fetch(torchvision_name: str, folder: Path, settings: DataSettings) -> None:
    """Run the downloading script, and end it when it is too slow.

    Raises:
        RuntimeError: The script failed or was ended; the message has the reason.
    """
    # -P: the script's own folder must not come before the standard library.
    command = [sys.executable, "-P", str(_FETCH), torchvision_name, str(folder)]
    with tempfile.TemporaryFile("w+") as messages:
        child = subprocess.Popen(
            [*command, str(settings.timeout)],
            env={**os.environ, "TQDM_DISABLE": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=messages,
        )
        try:
            _watch(child, folder, settings)
        finally:
            child.kill()  # no effect if it has ended
            child.wait()
        if child.returncode != 0:
            messages.seek(0)
            lines = messages.read().strip().splitlines()
            raise RuntimeError(lines[-1] if lines else f"exit code {child.returncode}")


def _watch(child: "subprocess.Popen[bytes]", folder: Path, settings: DataSettings) -> None:
    """Wait until the script ends.

    Raises:
        RuntimeError: Nothing arrived for `settings.timeout` seconds, or the download was not complete
            within `settings.deadline`.
    """
    # A socket's own limit is not enough: it covers neither name resolution nor a host with many dead
    # addresses, and a server that sends a byte now and then never reaches it.
    began = changed = time.monotonic()
    received: int | None = None
    while child.poll() is None:
        time.sleep(0.1)
        now, before = time.monotonic(), received
        received = sum(f.stat().st_size for f in folder.rglob("*")) if folder.is_dir() else None
        if received is None or received != before:
            changed = now
        if now - changed > settings.timeout:
            raise RuntimeError(f"timed out: nothing arrived for {settings.timeout:g} s")
        if now - began > settings.deadline:
            raise RuntimeError(f"timed out: not complete within {settings.deadline:g} s")
