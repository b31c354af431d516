"""`ScoreTask`: any Python function that scores a plan (reinforcement learning, JAX, a remote job)."""

import inspect
import math
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from initsearch.digests import short_hash
from initsearch.errors import ConfigError, quoted, shortened
from initsearch.layers import Slot
from initsearch.plan import InitPlan
from initsearch.tasks.base import Measured, TaskInfo
from initsearch.tasks.streams import step_at

#: Steps of a full budget that is not a whole number: budgets that differ by a thousandth of it are different.
RESOLUTION = 1000


@dataclass(frozen=True)
class ScoreTask:
    """A function `score(plan, seed)` or `score(plan, seed, budget)`; a `StandaloneTask`.

    The function trains whatever it likes, initialized by the plan, and returns one number. All that is random
    in it should depend on the seed alone: then candidates of one seed differ by their plans only.

    Attributes:
        function: The function. It is called with an `InitPlan`, an integer from 0 and, if there is a budget, a
            number above 0 and at most that budget.
        budget: The full budget, in a unit of the function's own (epochs, steps, episodes); None: the function
            does not take one. A whole number is divided into whole numbers.
        metric: What the returned number is called.
        version: Part of the study's identity: another version is another study.

    Raises:
        ConfigError: The function does not take these arguments, or the budget is not above 0.
    """

    function: Callable[..., float]
    budget: float | None = None
    metric: str = "score"
    version: str = ""

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise ConfigError(
                f"score must be a function score(plan, seed), but got {quoted(self.function)}"
            )
        _check_budget(self.budget)
        _check_arguments(self.function, self.budget)

    @property
    def lr(self) -> None:
        """A score takes no learning rate."""
        return None

    @property
    def _whole(self) -> bool:
        """Whether budgets are whole numbers."""
        return self.budget is None or float(self.budget).is_integer()

    @property
    def label(self) -> str:
        """What records call the function."""
        return str(getattr(self.function, "__name__", type(self.function).__name__))

    def key(self) -> dict[str, Any]:
        """The function's name and text, the budget and the version; what the function calls is not seen."""
        function = self.function
        return {
            "score": f"{getattr(function, '__module__', '')}.{self.label}",
            "source": _source_hash(function),
            "budget": self.budget,
            "version": self.version,
        }

    def info(self) -> TaskInfo:
        """What is known of a function: nothing but its budget."""
        return TaskInfo(
            dataset="score",
            requested="score",
            contents=self.version,
            sizes={},
            guess={},
            steps_per_epoch=1 if self._whole else math.ceil(RESOLUTION / float(self.budget or 1)),
            test_score=None,
        )

    def pinned(self) -> "ScoreTask":
        """The task itself: there are no data to find."""
        return self

    def slots(self) -> list[Slot]:
        """None are known: the model is the function's own."""
        return []

    def train(self, plan: InitPlan, seed: int, budgets: Sequence[float]) -> list[Measured]:
        """Call the function once, with the last budget.

        Raises:
            ConfigError: It returns something that is not a number.
            Exception: Whatever it raises.
        """
        last = budgets[-1]
        budget: tuple[float, ...] = ()
        if self.budget is not None:
            budget = (step_at(last, 1) if self._whole else last,)
        value = self.function(plan, seed, *budget)
        try:
            return [Measured(last, {self.metric: float(value)})]
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"{self.label} must return a number, but returned {quoted(value)}: return one float"
            ) from error


def _check_budget(budget: object) -> None:
    if budget is None:
        return
    if isinstance(budget, bool) or not isinstance(budget, int | float):
        raise ConfigError(f"budget must be a number or None, but got {quoted(budget)}: try 10")
    if not 0 < budget < math.inf:
        raise ConfigError(f"budget must be finite and above 0, but got {budget}: try 10")


def _check_arguments(function: Callable[..., float], budget: float | None) -> None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # a builtin may have none: the first call will show
        return
    arguments: tuple[Any, ...] = (None, 0) if budget is None else (None, 0, budget)
    try:
        signature.bind(*arguments)
    except TypeError as error:
        taken = "(plan, seed)" if budget is None else "(plan, seed, budget)"
        remedy = "give budget=" if budget is None else "leave budget out"
        raise ConfigError(
            f"score must take {taken}, but its signature is {shortened(str(signature))}: change it, or {remedy}"
        ) from error


def _source_hash(function: Callable[..., float]) -> str:
    """A hash of a function's own text; of its class for an object that is called."""
    own = isinstance(function, types.FunctionType | types.MethodType | type)
    try:
        return short_hash(inspect.getsource(function if own else type(function)))
    except (OSError, TypeError):  # typed at a prompt, or compiled
        return ""
