"""A call that crosses a process boundary: the question is its pickle, the answer its result or exception."""

import pickle
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

from initsearch.errors import InitSearchError, JobEndedError, quoted

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class Answer:
    """What came of a call, as data that always pickles.

    Attributes:
        payload: The pickled result or exception; empty for an exception that does not pickle.
        failed: Whether the call raised an exception.
        summary: The exception's type and text.
        trace: Its traceback as text.
    """

    payload: bytes
    failed: bool = False
    summary: str = ""
    trace: str = ""

    def value(self) -> Any:
        """The result of the call.

        Raises:
            BaseException: What the call raised, with its traceback as a note; a `RuntimeError` with its type
                and text if the exception cannot be pickled.
        """
        if not self.failed:
            return pickle.loads(self.payload)
        error = self._exception()
        error.add_note(f"The traceback in the process that ran the call:\n{self.trace}")
        raise error

    def _exception(self) -> BaseException:
        try:
            error = pickle.loads(self.payload)
        except Exception:  # noqa: BLE001  # its constructor may raise anything; the summary has its text
            error = None
        return error if isinstance(error, BaseException) else RuntimeError(self.summary)


def run_call(fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function; `sys.exit()` in it ends the call, not the process.

    Raises:
        JobEndedError: The function, or what it called, called `sys.exit()`.
    """
    try:
        return fn(*args, **kwargs)
    except SystemExit as leaving:
        caller = traceback.extract_tb(leaving.__traceback__)[-1]
        raise JobEndedError(
            f"{caller.name} called sys.exit({quoted(leaving.code)}) ({caller.filename}, line "
            f"{caller.lineno}): code that runs in a search must not end its process; raise an exception instead"
        ) from leaving


def pack(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
    """A call as a question.

    Raises:
        pickle.PicklingError, AttributeError, TypeError: The function or an argument does not pickle.
    """
    return pickle.dumps((fn, args, kwargs))


def answer(question: bytes) -> Answer:
    """Run the call of a question. Whatever it raises is part of the answer."""
    try:
        return Answer(pickle.dumps(_call(question)))
    except BaseException as error:  # noqa: BLE001  # the process that asked decides what to do about it
        return _failure(error)


def _call(question: bytes) -> Any:
    try:
        fn, args, kwargs = pickle.loads(question)
    except (Exception, SystemExit) as error:  # it imports modules, which may do anything
        raise InitSearchError(
            f"a call cannot be read in another process ({type(error).__name__}: {error}): its function and "
            "the classes of its arguments must be importable there; define them in a module, not in the "
            "script that is run"
        ) from error
    return run_call(fn, *args, **kwargs)


def _failure(error: BaseException) -> Answer:
    try:
        payload = pickle.dumps(error)
    except Exception:  # noqa: BLE001  # what it holds may refuse in any way; its text is sent instead
        payload = b""
    summary = f"{type(error).__name__}: {error}"
    return Answer(payload, True, summary, "".join(traceback.format_exception(error)))
