"""`Lockstep`: several trainings take turns in one process, and share what is the same for all of them.

Each training is plain code that runs from its beginning to its end, in a thread of its own, with a random state
of its own. One runs at a time. Where a training needs something that all of them need (a batch, say), it calls
`share`: the first one makes it, and the others get what was made, if they would have made the same.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch

from initsearch.random_state import RandomState

Value = TypeVar("Value")
#: Seconds between two looks of the waiting thread for Ctrl-C, where a lock does not wake up for it (Windows).
PATIENCE = 0.5


class NotSharedError(Exception):
    """A training needs something else than the others at the same point, or draws from another random state."""


class _CancelledError(BaseException):
    """Ends a training of which the result is no longer needed."""


@dataclass(frozen=True)
class _Shared:
    """What was made at one point.

    Attributes:
        kind: What is needed there.
        before: The random state of the training that made it.
        after: Its random state afterwards.
        value: What was made.
        error: What was raised instead, such as a StopIteration.
    """

    kind: object
    before: RandomState
    after: RandomState
    value: Any
    error: BaseException | None


class Lockstep(Generic[Value]):
    """Trainings that take turns.

    No training passes a point before all have arrived there. The one that passes it first makes the value,
    which may move its random state. Every other must be in the state that the first was in, and is put into the
    state that the first was left in. So each sees what it would have seen alone, bit for bit.

    Args:
        bodies: The trainings.
        devices: Devices on which they draw random numbers.
        resumed: Called with a training's number when it gets its turn.
    """

    def __init__(
        self,
        bodies: Sequence[Callable[[], Value]],
        devices: Iterable[torch.device] = (),
        resumed: Callable[[int], None] = lambda member: None,
    ) -> None:
        self._bodies = bodies
        self._devices = tuple(devices)
        self._resumed = resumed
        self._turns = [threading.Lock() for _ in bodies]
        # How many points each has passed; below 0 until it has arrived at the first.
        self._places = [-1] * len(bodies)
        self._living = list(range(len(bodies)))
        self._made: dict[int, _Shared] = {}
        self._end = 0  # how many points anyone has passed
        self._cancelled = False
        self._outcomes: dict[int, Value | BaseException] = {}
        self._thread = threading.local()

    def run(self) -> list[Value | BaseException]:
        """Run all to their ends, in the order of the bodies; where one raised an error, that error.

        After an error other than `NotSharedError`, the others end at their next point.

        Raises:
            KeyboardInterrupt: Ctrl-C was pressed. All have ended.
        """
        threads = [
            threading.Thread(target=self._run, args=(member,), name=f"training {member}")
            for member in self._living
        ]
        for turn in self._turns:
            turn.acquire()
        for thread in threads:
            thread.start()
        self._turns[0].release()
        interrupted: KeyboardInterrupt | None = None
        for thread in threads:
            while thread.is_alive():
                try:
                    thread.join(PATIENCE)
                except KeyboardInterrupt as interrupt:
                    self._cancelled, interrupted = True, interrupt
        if interrupted is not None:
            raise interrupted
        return [self._outcomes[member] for member in range(len(self._bodies))]

    @property
    def member(self) -> int:
        """The number of the training that calls."""
        number: int = self._thread.member
        return number

    @contextmanager
    def aside(self) -> Iterator[None]:
        """What the calling training needs inside is its own affair: nothing is shared."""
        self._thread.aside = True
        try:
            yield
        finally:
            self._thread.aside = False

    @property
    def is_aside(self) -> bool:
        """Whether the calling training is inside `aside`."""
        return getattr(self._thread, "aside", False)

    def share(self, kind: object, make: Callable[[], Any]) -> Any:
        """What all trainings need at this point.

        Args:
            kind: What it is; equal for all trainings at the same point.
            make: Makes it.

        Raises:
            NotSharedError: Another training that was here first needed something else, or drew its random
                numbers from another state.
            BaseException: What `make` raises; it is raised for every training.
        """
        if self.is_aside:
            return make()
        member = self.member
        state = RandomState.now(self._devices)
        waited = False
        self._places[member] = max(self._places[member], 0)
        while self._places[member] == self._end and (behind := self._behind(member)) is not None:
            self._wait(member, behind)
            waited = True
        place = self._places[member]
        if place == self._end:
            if waited:  # others have drawn since
                state.restore()
            self._make(kind, state, make)
        made = self._made[place]
        if made.kind != kind or not made.before.equals(state):
            state.restore()
            raise NotSharedError(f"{kind} is not what another candidate needed at this point")
        if made.before is not state:
            made.after.restore()
        self._places[member] += 1
        self._forget()
        if made.error is not None:
            raise made.error
        return made.value

    def remaining(self) -> int:
        """How many trainings have not passed the last point that the calling one has passed."""
        place = self._places[self.member]
        return sum(self._places[other] < place for other in self._living)

    def _make(self, kind: object, state: RandomState, make: Callable[[], Any]) -> None:
        value, error = None, None
        try:
            value = make()
        except Exception as raised:  # noqa: BLE001  # `share` raises it for each training
            error = raised
        after = RandomState.now(self._devices)
        self._made[self._end] = _Shared(kind, state, after, value, error)
        self._end += 1

    def _behind(self, member: int) -> int | None:
        """The next training that has not arrived where the furthest is; None if all have."""
        count = len(self._bodies)
        order = ((member + step) % count for step in range(1, count))
        return next(
            (one for one in order if one in self._living and self._places[one] < self._end), None
        )

    def _wait(self, member: int, other: int) -> None:
        """Give the turn to another, and wait for one's own."""
        self._turns[other].release()
        self._turns[member].acquire()
        self._take_turn(member)

    def _take_turn(self, member: int) -> None:
        if self._cancelled:
            raise _CancelledError
        self._resumed(member)

    def _forget(self) -> None:
        """Drop what all trainings have passed."""
        first = min((self._places[member] for member in self._living), default=self._end)
        for place in [place for place in self._made if place < first]:
            del self._made[place]

    def _run(self, member: int) -> None:
        self._thread.member = member
        self._turns[member].acquire()
        try:
            self._take_turn(member)
            self._outcomes[member] = self._bodies[member]()
        except BaseException as error:  # noqa: BLE001  # returned by `run`
            self._outcomes[member] = error
            if not isinstance(error, NotSharedError):
                self._cancelled = True
        finally:
            self._living.remove(member)
            self._forget()
            if self._living:
                self._turns[self._next(member)].release()

    def _next(self, member: int) -> int:
        """A living training, one that is behind if there is one."""
        behind = self._behind(member)
        return self._living[0] if behind is None else behind
