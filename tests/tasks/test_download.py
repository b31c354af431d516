"""Downloads that fail, hang or serve garbage: the error comes in time, and nothing half is left.

The servers are local. They replace the mirrors as proxies, which urllib takes from the environment: the
downloading process is the real one.
"""

import gzip
import hashlib
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock
from mnist_files import as_idx, small_mnist
from torchvision import datasets

from initsearch.errors import DataError
from initsearch.tasks.data import DataSettings, download, fetch, load_data

pytestmark = pytest.mark.slow

HTML = b"<html>please log in to this network</html>"


@contextmanager
def server(answer: Callable[[socket.socket, bytes, threading.Event], None]) -> Iterator[str]:
    """A server that calls `answer` with each connection, its request's first line and an end signal."""
    end = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def handle(connection: socket.socket) -> None:
        with connection:
            try:
                answer(connection, connection.recv(65536).split(b"\r\n")[0], end)
            except OSError:
                return  # the client gave up, as it should

    def accept() -> None:
        while not end.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return  # closed below
            threading.Thread(target=handle, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        end.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def silent(connection: socket.socket, request: bytes, end: threading.Event) -> None:
    end.wait(60)


def garbage(connection: socket.socket, request: bytes, end: threading.Event) -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(HTML)}\r\nConnection: close\r\n\r\n"
    connection.sendall(head.encode() + HTML)


@pytest.fixture
def through(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Send every download through a proxy, one for https and one for http."""
    for name in ("no_proxy", "NO_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)

    def use(https: str, http: str) -> None:
        monkeypatch.setenv("https_proxy", https)
        monkeypatch.setenv("http_proxy", http)

    return use


def refused(root: Path, name: str = "mnist", timeout: float = 20, deadline: float = 60) -> str:
    """The one-line error of a download that cannot succeed; nothing but the lock file is left."""
    with pytest.raises(DataError) as error:
        load_data(DataSettings(name=name, root=str(root), timeout=timeout, deadline=deadline))
    text = str(error.value)
    assert "\n" not in text
    assert all(word in text for word in ("data.root=", "data.fallback=digits", "data=digits"))
    assert [path.name for path in root.iterdir()] in ([], [f".{name}.lock"])
    return text


def test_dead_and_lying_mirrors_are_an_error_of_one_line(
    tmp_path: Path, through: Callable[[str, str], None]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with server(garbage) as url:
        through(f"http://127.0.0.1:{port}", url)
        text = refused(tmp_path)
    assert "refused" in text  # torchvision's first mirror speaks https
    assert "corrupted" in text  # the second http


def test_a_silent_server_is_given_up_on(
    tmp_path: Path, through: Callable[[str, str], None]
) -> None:
    with server(silent) as url:
        through(url, url)
        assert "timed out" in refused(tmp_path, "cifar10", timeout=0.5)


def test_a_root_that_cannot_be_made_is_an_error_of_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(DataError, match=r"data\.root=") as error:
        load_data(DataSettings(name="mnist", root=str(tmp_path / "file" / "data")))
    assert "\n" not in str(error.value)


def test_fetch_lets_torchvision_download_and_unpack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    packed = {f"{n}.gz": gzip.compress(as_idx(a)) for n, a in small_mnist().items()}

    def serve(connection: socket.socket, request: bytes, end: threading.Event) -> None:
        body = packed[request.split()[1].decode().rpartition("/")[2]]
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        connection.sendall(head.encode() + body)

    with server(serve) as url:
        sums = [(name, hashlib.md5(body).hexdigest()) for name, body in packed.items()]
        monkeypatch.setattr(datasets.MNIST, "resources", sums)
        monkeypatch.setattr(datasets.MNIST, "mirrors", [f"{url}/mnist/"])
        try:
            fetch.fetch("MNIST", str(tmp_path), timeout=20)
        finally:
            socket.setdefaulttimeout(None)
    data = load_data(DataSettings(name="mnist", root=str(tmp_path), download=False))
    assert (data.train_x[:, 0].numpy() == small_mnist()["train-images-idx3-ubyte"]).all()


# --- a script in the place of the downloading one ---------------------------------------------


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Run other code in place of `fetch.py`; it must put the files into `raw`."""
    source = tmp_path / "source"
    source.mkdir()
    for name, values in small_mnist().items():
        (source / name).write_bytes(as_idx(values))
    path = tmp_path / "script.py"
    monkeypatch.setattr(download, "_FETCH", path)
    root = tmp_path / "root"

    def use(code: str) -> Path:
        path.write_text(
            "import pathlib, shutil, sys\n"
            f"source = pathlib.Path({str(source)!r})\n"
            f"log = pathlib.Path({str(tmp_path / 'log')!r})\n"
            "raw = pathlib.Path(sys.argv[2]) / sys.argv[1] / 'raw'\n"
            "raw.mkdir(parents=True)\n"
            f"{code}\n"
        )
        return root

    return use


COPY_ALL = "shutil.copytree(source, raw, dirs_exist_ok=True)\n(raw / 'x.gz').write_bytes(b'.')"


def test_a_download_moves_over_whole_and_without_its_archives(
    script: Callable[[str], Path],
) -> None:
    root = script(COPY_ALL)
    data = load_data(DataSettings(name="mnist", root=str(root)))
    assert len(data.train_y) == 60
    kept = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    assert kept == {f"MNIST/raw/{name}" for name in small_mnist()} | {".mnist.lock"}


def test_a_download_that_breaks_off_leaves_nothing_behind(script: Callable[[str], Path]) -> None:
    code = "shutil.copy(source / 'train-images-idx3-ubyte', raw)\nraise SystemExit('line cut')"
    root = script(code)
    root.mkdir()
    assert "line cut" in refused(root)


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("time.sleep(60)", "nothing arrived for 0.5 s"),
        (
            "while time.sleep(0.01) is None: (raw / 'x').open('a').write('.')",
            "not complete within 2 s",
        ),
    ],
)
def test_a_download_that_never_ends_is_ended(
    script: Callable[[str], Path], code: str, says: str
) -> None:
    root = script(f"import time\n{code}")
    root.mkdir()
    assert says in refused(root, timeout=0.5, deadline=2)


def test_a_download_that_lacks_a_file_is_not_taken_for_whole(
    script: Callable[[str], Path],
) -> None:
    root = script(f"{COPY_ALL}\n(raw / 't10k-labels-idx1-ubyte').unlink()")
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte is missing.*did not contain it"):
        load_data(DataSettings(name="mnist", root=str(root)))


def test_those_that_come_meanwhile_wait_and_do_not_download_again(
    script: Callable[[str], Path], tmp_path: Path
) -> None:
    root = script(
        f"import time\nwith log.open('a') as f: f.write('run ')\ntime.sleep(0.5)\n{COPY_ALL}"
    )
    with ThreadPoolExecutor(3) as threads:
        settings = DataSettings(name="mnist", root=str(root))
        sizes = [len(data.train_y) for data in threads.map(load_data, [settings] * 3)]
    assert sizes == [60, 60, 60]
    assert (tmp_path / "log").read_text() == "run "


def test_a_lock_that_is_never_let_go_is_an_error(tmp_path: Path) -> None:
    with FileLock(tmp_path / ".mnist.lock"):
        assert "another process held" in refused(tmp_path, deadline=0.2)
