"""Recurrent nets that read a sequence and answer after its last step."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from initsearch.settings import one_of

CELLS = ("lstm", "gru", "tanh", "relu")


class Recurrent(nn.Module):
    """One recurrent layer over the steps of a sequence, and a dense head on its last state.

    Maps (N, steps, features) to (N, num_outputs).

    Args:
        input_shape: Steps and features of one sequence.
        num_outputs: Width of the output.
        width: Units of the recurrent layer.
        cell: `lstm`, `gru`, or a plain recurrent layer with `tanh` or `relu`.
    """

    def __init__(
        self,
        input_shape: tuple[int, int],
        num_outputs: int,
        width: Annotated[int, Field(ge=1)] = 64,
        cell: Annotated[str, one_of("model.cell", CELLS)] = "lstm",
    ) -> None:
        super().__init__()
        _, features = input_shape
        self.example_input_array = torch.zeros(2, *input_shape)
        self.recurrent: nn.RNNBase
        if cell == "lstm":
            self.recurrent = nn.LSTM(features, width, batch_first=True)
        elif cell == "gru":
            self.recurrent = nn.GRU(features, width, batch_first=True)
        else:
            self.recurrent = nn.RNN(features, width, nonlinearity=cell, batch_first=True)
        self.head = nn.Linear(width, num_outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs (N, num_outputs) of sequences (N, steps, features)."""
        states, _ = self.recurrent(x)
        out: Tensor = self.head(states[:, -1])
        return out
