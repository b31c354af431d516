"""`Checkpoint`: a candidate's weights, buffers and optimizer state in a file, between two jobs."""

import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from initsearch.digests import hex_digest
from initsearch.errors import ConfigError
from initsearch.files import written_aside


@dataclass(frozen=True)
class Checkpoint:
    """All that a candidate's training resumes from; the batches follow from block and step.

    Attributes:
        model: The model's `state_dict` (weights and buffers).
        optimizer: The optimizer's `state_dict`.
        step: Optimizer steps done.
        initial_loss: Training loss on the block's first batch.
        losses: Sum and number of the training losses since the last measurement.
    """

    model: dict[str, Any]
    optimizer: dict[str, Any]
    step: int
    initial_loss: float
    losses: tuple[float, int] = (0.0, 0)

    def save(self, folder: str | os.PathLike[str], candidate: str, seed: int) -> str:
        """Write the checkpoint into a folder, completely or not at all, and return the file's path."""
        # A candidate's name may hold any character: its digest names the file.
        target = Path(folder) / f"{hex_digest(candidate, 10)}-block{seed}-step{self.step}.pt"
        with written_aside(target) as temporary:
            torch.save(vars(self), temporary)
        return str(target)

    @staticmethod
    def is_whole(path: str | os.PathLike[str]) -> bool:
        """Whether a file is a complete checkpoint: `torch.save` writes a zip archive with checksums.

        A file that was moved into place may still be cut, empty or full of zeros after a power cut.
        """
        try:
            with zipfile.ZipFile(path) as archive:
                if archive.testzip() is not None:
                    return False
            torch.load(path, map_location="cpu", weights_only=True)  # headers have no checksum
        # What zipfile and torch raise for damaged headers.
        except (OSError, zipfile.BadZipFile, EOFError, ValueError, RuntimeError, OverflowError):
            return False
        return True

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Checkpoint":
        """Read a checkpoint; tensors come to the CPU.

        Raises:
            ConfigError: There is no such file.
        """
        try:
            return cls(**torch.load(path, map_location="cpu", weights_only=True))
        except FileNotFoundError as error:
            raise ConfigError(
                f"state file {os.fspath(path)!r} does not exist: train the candidate from epoch 0"
            ) from error
