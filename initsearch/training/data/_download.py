"""A download that can be given up on, and that is seen either whole or not at all."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from initsearch.errors import DataError

from ._config import DataConfig

_FETCH = Path(__file__).with_name("_fetch.py")


class MissingDataError(DataError):
    """A data set is neither on disk nor downloadable: the case for which a fallback is."""


def ensure(name: str, torchvision_name: str, files: Sequence[Path], config: DataConfig) -> None:
    """Have the files of a data set on disk: they are there already, or are downloaded.

    torchvision downloads in a process of its own, since its sockets know no time limit and a
    thread cannot be stopped. It writes to a folder beside the final one; files move over whole when
    all have arrived. A lock file makes other processes wait for the one that downloads.

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
        RuntimeError: The download failed or took too long.
        OSError: A folder cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix=".download-", dir=root) as staging:
        # -P: the script's own folder must not come before the standard library.
        command = [sys.executable, "-P", str(_FETCH), torchvision_name, staging]
        try:
            done = subprocess.run(
                [*command, str(config.timeout)],
                env={**os.environ, "TQDM_DISABLE": "1"},
                timeout=config.deadline,
                capture_output=True,
                text=True,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise RuntimeError(f"no whole copy within {config.deadline:g} s") from error
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines()
            raise RuntimeError(lines[-1] if lines else f"exit code {done.returncode}")
        for file in sorted(Path(staging).rglob("*")):
            # The archives have served: only what came out of them is kept.
            if file.is_file() and file.suffix != ".gz":
                target = root / file.relative_to(staging)
                target.parent.mkdir(parents=True, exist_ok=True)
                file.replace(target)
