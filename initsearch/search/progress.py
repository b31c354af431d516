"""What a study reports about how far it is: the `Progress` protocol."""

from collections.abc import Mapping
from typing import Protocol


class Progress(Protocol):
    """Shows the work of a study while it runs. Calls come from any thread of the coordinator process.

    Work is counted in candidate-epochs: one candidate trained for one epoch on one seed.
    """

    def plan(self, work: Mapping[str, float]) -> None:
        """The phases to come, in order, each with its work at most; called once, before the first."""

    def phase(self, name: str, total: float) -> None:
        """A phase begins: its name (`search`, `race`, `test`), and its work at most, as known by now."""

    def training(self, what: str) -> None:
        """What is being trained now, in a few words."""

    def advance(self, amount: float) -> None:
        """This much was trained."""

    def skip(self, amount: float) -> None:
        """This much needs no training in this run: its result is kept, or its candidate was dropped."""

    def message(self, text: str) -> None:
        """Something that the user should read."""
