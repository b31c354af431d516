"""Files that are written whole: what a crash, a failed write and two writers leave behind."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from initsearch.files import remove_leftovers, short_name, write_whole, written_aside


def test_text_and_bytes_are_written_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.txt"
    assert write_whole(path, "é\n") == path
    assert path.read_bytes() == "é\n".encode()
    write_whole(path, b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"
    assert list(path.parent.iterdir()) == [path]


def test_content_is_synced_before_the_move_and_the_folder_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def noted_sync(descriptor: int) -> None:
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        steps.append("sync folder" if is_folder else "sync file")
        fsync(descriptor)

    def noted_replace(self: Path, target: Path) -> Path:
        steps.append(f"move to {target.name}")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(Path, "replace", noted_replace)
    write_whole(tmp_path / "made" / "a.txt", "text")
    # First the folder in which the new folder is an entry.
    assert steps == ["sync folder", "sync file", "move to a.txt", "sync folder"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = write_whole(tmp_path / "a.txt", "old")

    def write_half() -> None:
        with written_aside(path) as temporary:
            temporary.write_text("ne")
            raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_any_name_that_the_file_system_takes_can_be_written(tmp_path: Path) -> None:
    for name in ("x" * 255, "é" * 127, ".hidden", "a b?%*"):
        write_whole(tmp_path / name, name)
        assert (tmp_path / name).read_text() == name


def test_two_writers_of_one_file_leave_a_whole_one(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    texts = [letter * 100_000 for letter in "abcd"]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda text: write_whole(path, text), texts * 5))
    assert path.read_text() in texts
    assert list(tmp_path.iterdir()) == [path]


def test_files_can_be_written_within_one_another(tmp_path: Path) -> None:
    with written_aside(tmp_path / "outer") as outer, written_aside(tmp_path / "inner") as inner:
        outer.write_text("outer")
        inner.write_text("inner")
    assert (tmp_path / "outer").read_text() == "outer"
    assert (tmp_path / "inner").read_text() == "inner"


def test_a_long_name_is_shortened_to_one_that_a_file_system_takes(tmp_path: Path) -> None:
    assert short_name("relu_mlp-digits-0a1b2c3d") == "relu_mlp-digits-0a1b2c3d"
    for char in ("x", "é", "日"):
        for length in (199, 200, 201, 240, 255, 256, 300):
            name = short_name(char * length)
            assert len(name.encode()) <= 200
            (tmp_path / f".{name}.lock").touch()
            write_whole(tmp_path / name, "content")
            (tmp_path / name).unlink()
    ends = {short_name("n" * 250 + end) for end in ("a", "b", "c")}
    assert len(ends) == 3


def test_what_killed_writers_left_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with written_aside(path) as temporary:
        temporary.write_text("whole")
        left = tmp_path / temporary.name
    path.unlink()
    for name in (left, left.with_name(f"{left.name}-journal"), tmp_path / ".other.tmp"):
        name.write_text("half")
    remove_leftovers(path)
    assert [file.name for file in tmp_path.iterdir()] == [".other.tmp"]
