"""A download that can be given up on, and that is seen either whole or not at all."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from initsearch.errors import DataError
from initsearch.tasks.data.config import DataConfig

_FETCH = Path(__file__).with_name("fetch.py")


class MissingDataError(DataError):
    """A data set is neither on disk nor downloadable: the case for which a fallback is."""


def ensure(name: str, torchvision_name: str, files: Sequence[Path], config: DataConfig) -> None:
    """Have the files of a data set on disk: they are there already, or are downloaded.

    torchvision downloads in a process of its own, since it knows no time limit and a thread cannot
    be stopped. It writes to a folder beside the final one; files move over whole when all have
    arrived. A lock file makes other processes wait for the one that downloads.

    Args:
        name: The data set as the user knows it.
        torchvision_name: Its class in `torchvision.datasets`.
        files: What has to be there.
        config: Where, and how long it may take.

    Raises:
        MissingDataError: Some file is missing and could not be downloaded.
    """
    if not _missing(files):
        return
    if not config.download:
        raise _error(name, files, config, "data.download is false")
    root = config.folder
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / f".{name}.lock", timeout=config.deadline):
            if _missing(files):
                _download(torchvision_name, root, config)
    except Timeout as error:
        reason = f"another process held {error.lock_file} for {config.deadline:g} s"
        raise _error(name, files, config, reason) from error
    except (OSError, RuntimeError) as error:
        raise _error(name, files, config, str(error)) from error
    if _missing(files):
        raise _error(name, files, config, "the download lacked it")


def _missing(files: Sequence[Path]) -> list[Path]:
    return [file for file in files if not file.is_file()]


def _error(name: str, files: Sequence[Path], config: DataConfig, reason: str) -> MissingDataError:
    root = config.folder
    return MissingDataError(
        f"data set {name!r} is not in {root} ({_missing(files)[0].relative_to(root)} is missing) "
        f"and was not downloaded ({reason}): point data.root= at a copy, set "
        "data.fallback=digits, or choose data=digits"
    )


def _download(torchvision_name: str, root: Path, config: DataConfig) -> None:
    """Download into a temporary folder, then move each file over whole.

    Raises:
        RuntimeError: The download failed, stopped moving or took too long.
        OSError: A folder cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix=".download-", dir=root) as temporary:
        folder = Path(temporary) / "data"  # made by torchvision, just before it connects
        _run_fetch(torchvision_name, folder, config)
        for file in sorted(folder.rglob("*")):
            # The archives have served: only what came out of them is kept.
            if file.is_file() and file.suffix != ".gz":
                target = root / file.relative_to(folder)
                target.parent.mkdir(parents=True, exist_ok=True)
                file.replace(target)


def _run_fetch(torchvision_name: str, folder: Path, config: DataConfig) -> None:
    """Run the downloading script, and end it when it is too slow.

    Raises:
        RuntimeError: The script failed or was ended; the message says why.
    """
    # -P: the script's own folder must not come before the standard library.
    command = [sys.executable, "-P", str(_FETCH), torchvision_name, str(folder)]
    with tempfile.TemporaryFile("w+") as messages:
        child = subprocess.Popen(
            [*command, str(config.timeout)],
            env={**os.environ, "TQDM_DISABLE": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=messages,
        )
        try:
            _watch(child, folder, config)
        finally:
            child.kill()  # without effect on one that has ended
            child.wait()
        if child.returncode != 0:
            messages.seek(0)
            lines = messages.read().strip().splitlines()
            raise RuntimeError(lines[-1] if lines else f"exit code {child.returncode}")


def _watch(child: "subprocess.Popen[bytes]", folder: Path, config: DataConfig) -> None:
    """Wait until the script ends.

    Raises:
        RuntimeError: Nothing arrived for `config.timeout` seconds, or all of it did not within
            `config.deadline`.
    """
    # A socket's own limit is not enough: it covers neither the look-up of names nor a host with
    # many dead addresses, and a server that sends a byte now and then never meets it.
    began = changed = time.monotonic()
    received: int | None = None
    while child.poll() is None:
        time.sleep(0.1)
        now, before = time.monotonic(), received
        received = sum(f.stat().st_size for f in folder.rglob("*")) if folder.is_dir() else None
        if received is None or received != before:
            changed = now
        if now - changed > config.timeout:
            raise RuntimeError(f"timed out: nothing arrived for {config.timeout:g} s")
        if now - began > config.deadline:
            raise RuntimeError(f"timed out: not whole within {config.deadline:g} s")
