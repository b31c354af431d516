"""The script that downloads a data set: `python fetch.py CLASS FOLDER TIMEOUT`.

It runs in a process of its own, which its parent can end; see `download.py`. It imports nothing of
initsearch: it runs by its path alone.
"""

import socket
import sys

from torchvision import datasets


def fetch(torchvision_name: str, folder: str, timeout: float) -> None:
    """Let torchvision download a data set, trying its mirrors in turn and checking MD5 sums.

    Args:
        torchvision_name: A class of `torchvision.datasets`, such as `MNIST`.
        folder: Where to put it.
        timeout: Seconds that a connection may stay silent; urllib itself has no limit.
    """
    socket.setdefaulttimeout(timeout)
    getattr(datasets, torchvision_name)(folder, download=True)


if __name__ == "__main__":
    try:
        fetch(sys.argv[1], sys.argv[2], float(sys.argv[3]))
    except Exception as error:
        # The parent shows the last line of stderr to the user.
        raise SystemExit(f"{type(error).__name__}: {' '.join(str(error).split())}") from error
