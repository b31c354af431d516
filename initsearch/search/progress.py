"""What a search tells whoever shows how far it is."""

from typing import Protocol


class Progress(Protocol):
    """Shows the work of a study while it goes on. Calls come from any thread of the coordinator process."""

    def phase(self, name: str, total: float) -> None:
        """A phase begins: its name (`search`, `race`, `test`), and its work in candidate-epochs at most."""

    def training(self, what: str) -> None:
        """What is being trained now, in a few words."""

    def advance(self, amount: float) -> None:
        """So many candidate-epochs were trained, or need not be trained any more."""

    def message(self, text: str) -> None:
        """Something that the user should read."""
