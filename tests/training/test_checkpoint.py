"""Checkpoints on disk: what was saved is loaded, and a damaged file is recognized."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from initsearch.training.checkpoint import Checkpoint


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    weights = {"weight": torch.arange(600.0).reshape(20, 30)}
    return Path(Checkpoint(weights, {"state": {}}, 7, 2.3, (4.5, 2)).save(tmp_path, "he_normal", 3))


def test_a_checkpoint_is_loaded_as_it_was_saved(saved: Path) -> None:
    assert Checkpoint.is_whole(saved)
    loaded = Checkpoint.load(saved)
    assert torch.equal(loaded.model["weight"], torch.arange(600.0).reshape(20, 30))
    assert (loaded.step, loaded.initial_loss, loaded.losses) == (7, 2.3, (4.5, 2))


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: data[:-1],
        lambda data: bytes(len(data)),
        lambda data: data[: len(data) // 2] + bytes(len(data) - len(data) // 2),
        lambda data: random.Random(0).randbytes(len(data)),
        lambda data: b"not a checkpoint",
    ],
    ids=["empty", "half", "one byte short", "zeros", "zeros from the middle", "noise", "text"],
)
def test_a_damaged_checkpoint_is_recognized(saved: Path, damage: Callable[[bytes], bytes]) -> None:
    saved.write_bytes(damage(saved.read_bytes()))
    assert not Checkpoint.is_whole(saved)


def test_whatever_a_cut_or_zeroed_checkpoint_still_says_is_what_was_saved(saved: Path) -> None:
    whole, weight = saved.read_bytes(), Checkpoint.load(saved).model["weight"]
    draw = random.Random(1)
    recognized = 0
    for _ in range(300):
        start = draw.randrange(len(whole))
        length = draw.randrange(1, 600)
        zeroed = whole[:start] + bytes(len(whole[start : start + length])) + whole[start + length :]
        saved.write_bytes(draw.choice([whole[:start], zeroed]))
        if Checkpoint.is_whole(saved):  # the zeros fell on padding
            assert torch.equal(Checkpoint.load(saved).model["weight"], weight)
        else:
            recognized += 1
    assert recognized > 200


def test_a_missing_checkpoint_is_not_whole(tmp_path: Path) -> None:
    assert not Checkpoint.is_whole(tmp_path / "gone.pt")
