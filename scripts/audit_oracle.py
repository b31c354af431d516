"""What a model's own code draws its weights from, recorded while it is built.

`Recording` sees each operation on a tensor below Python (a `TorchDispatchMode`), whichever function called it:
random fills, constants, and what is done with them afterwards. It knows nothing of `identify`, whose oracle it
is. Copies of modules (`copy.deepcopy`) are found by their equal values.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

#: A name (`constant`, `normal`, `uniform`, `truncated_normal`, `orthogonal`) with its numbers: the value; mean
#: and standard deviation; the ends; mean, standard deviation and the ends; the gain. `other` is computed,
#: `parts` is drawn part by part.
Law = tuple[str, tuple[float, ...]]

OTHER: Law = ("other", ())
PARTS: Law = ("parts", ())
# Bounds further out cut less than one entry in a million.
_NO_BOUND = 5.0
# Two numbers of one law differ by less, as a share.
_SAME = 5e-3
_SCALES: dict[str, Callable[[float], float]] = {
    "mul": lambda by: by,
    "div": lambda by: 1 / by,
    "true_divide": lambda by: 1 / by,
}
_SHIFTS = {"add": 1.0, "sub": -1.0}
_COPIES = ("clone", "copy", "_to_copy", "contiguous", "lift_fresh")


@dataclass
class Recording:
    """The laws of a model's parameters, by name.

    Attributes:
        laws: A parameter is missing if nothing was seen to fill it.
    """

    laws: dict[str, Law] = field(default_factory=dict)

    @classmethod
    def of(cls, build: Callable[[], nn.Module]) -> "tuple[nn.Module, Recording]":
        """Build a model, and record what fills its parameters."""
        recorder = _Recorder()
        with recorder.truncated(), recorder:
            model = build()
        found: dict[str, Law] = {}
        by_value: dict[tuple[float, ...], Law] = {}
        waiting: list[tuple[str, tuple[float, ...]]] = []
        for name, parameter in model.named_parameters():
            value = parameter.detach().double().flatten()
            key = (value.numel(), *value[:3].tolist(), float(value.sum()))
            if bool((value == value[0]).all()):
                found[name] = ("constant", (float(value[0]),))
            elif (law := recorder.law(parameter.detach())) is not None:
                found[name] = by_value[key] = law
            else:
                waiting.append((name, key))
        for name, key in waiting:
            if key in by_value:
                found[name] = by_value[key]
        return model, cls(found)


def same_law(truth: Law, kind: str, numbers: Sequence[float]) -> bool:
    """Whether a law is the one found: the same name, and numbers that agree.

    Args:
        truth: A recorded law.
        kind: The name of the law found.
        numbers: Its numbers; the bounds of a truncated normal in standard deviations from the mean.
    """
    name, expected = simplified(truth)
    return (
        name == kind
        and len(expected) == len(numbers)
        and all(
            math.isclose(one, other, rel_tol=_SAME, abs_tol=1e-9)
            for one, other in zip(expected, numbers, strict=True)
        )
    )


def simplified(law: Law) -> Law:
    """A law with bounds in standard deviations, and without bounds that cut nothing."""
    name, numbers = law
    if name == "truncated_normal":
        mean, std, low, high = numbers
        low, high = (low - mean) / std, (high - mean) / std
        return (
            ("normal", (mean, std))
            if min(-low, high) > _NO_BOUND
            else (name, (mean, std, low, high))
        )
    return law


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Keeps the law of each storage that an operation has filled."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._laws: dict[int, Law] = {}
        self._storages: list[Any] = []  # kept alive: their addresses are keys
        self._paused = False

    def law(self, tensor: Tensor) -> Law | None:
        """The law of a tensor; None if nothing has filled it."""
        return self._laws.get(_key(tensor))

    @contextmanager
    def truncated(self) -> Iterator[None]:
        """Record torch's truncated normal as a whole: it draws again until all entries are inside."""
        draw = nn.init._no_grad_trunc_normal_

        def recorded(
            tensor: Tensor, mean: float, std: float, a: float, b: float, **settings: Any
        ) -> Tensor:
            self._paused, before = True, self._paused
            try:
                result = draw(tensor, mean, std, a, b, **settings)
            finally:
                self._paused = before
            self._put(tensor, ("truncated_normal", (mean, std, a, b)))
            return result

        with patch.object(nn.init, "_no_grad_trunc_normal_", recorded):
            yield

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if not self._paused:
            name = func.overloadpacket.__name__
            for result in out if isinstance(out, tuple | list) else (out,):
                if isinstance(result, Tensor):
                    self._see(name, result, args, kwargs or {})
        return out

    def _see(self, name: str, out: Tensor, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        first = args[0] if args and isinstance(args[0], Tensor) else None
        if first is not None and first is not out and _key(first) == _key(out):
            return  # a view
        bare = name.removesuffix("_") if not name.startswith("_") else name
        law = self._result(bare, args, kwargs, first)
        if law is not None:
            self._put(out, law)
        elif _key(out) in self._laws and (first is None or _key(first) != _key(out)):
            del self._laws[_key(out)]

    def _result(
        self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], first: Tensor | None
    ) -> Law | None:
        """The law of an operation's result; None if it leaves the tensor empty."""
        numbers = [float(each) for each in args[1:] if isinstance(each, int | float)]
        if name.startswith(("empty", "new_empty")):
            return None
        if name in ("zeros", "zero", "zeros_like", "new_zeros"):
            return "constant", (0.0,)
        if name in ("ones", "ones_like", "new_ones"):
            return "constant", (1.0,)
        if name in ("fill", "full", "full_like"):
            return ("constant", (numbers[-1],)) if numbers else OTHER
        if name in ("randn", "randn_like"):
            return "normal", (0.0, 1.0)
        if name in ("rand", "rand_like"):
            return "uniform", (0.0, 1.0)
        if name in ("normal", "uniform"):
            ends = (*numbers, *(0.0, 1.0)[len(numbers) :])
            return name, (ends[0], ends[1])
        if name == "linalg_qr":
            return "orthogonal", (1.0,)
        source = args[1] if name == "copy" else first
        before = self.law(source) if isinstance(source, Tensor) else None
        if name in _COPIES:
            return before or OTHER
        return _changed(before or OTHER, name, args, kwargs)

    def _put(self, tensor: Tensor, law: Law) -> None:
        key = _key(tensor)
        whole = tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
        if not whole:
            if law == ("constant", (0.0,)):
                return  # such as the row of a padding index
            law = law if self._laws.get(key) in (None, law) else PARTS
        if key not in self._laws:
            self._storages.append(tensor.untyped_storage())
        self._laws[key] = law


def _changed(law: Law, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Law:
    """The law after arithmetic with a number."""
    kind, numbers = law
    by = args[1] if len(args) > 1 else None
    if isinstance(by, Tensor):
        if kind == "orthogonal":
            return law  # the signs of its columns
        by = float(by) if by.numel() == 1 else None
    if name == "erfinv" and kind == "uniform":
        return "erfinv", numbers
    if name == "clamp" and kind == "erfinv":
        # sigma sqrt(2) erfinv(U) + mu is a normal: `numbers` hold the ends of U, then scale and shift.
        std, mean = numbers[2] / math.sqrt(2), (numbers[3] if len(numbers) > 3 else 0.0)
        ends = (*args[1:3], kwargs.get("min"), kwargs.get("max"))
        low, high = (float(end) for end in ends if end is not None)
        return "truncated_normal", (mean, std, low, high)
    if not isinstance(by, int | float):
        return OTHER
    if name in _SCALES:
        factor = _SCALES[name](float(by))
        if kind == "erfinv":
            return kind, (*numbers[:2], factor)
        if kind in ("normal", "truncated_normal"):
            return kind, (numbers[0] * factor, *(number * factor for number in numbers[1:]))
        return (kind, tuple(number * factor for number in numbers)) if numbers else OTHER
    if name in _SHIFTS:
        shift = _SHIFTS[name] * float(by)
        if kind == "erfinv":
            return kind, (*numbers[:3], shift)
        if kind in ("normal", "truncated_normal"):
            bounds = tuple(number + shift for number in numbers[2:])
            return kind, (numbers[0] + shift, numbers[1], *bounds)
        if kind in ("uniform", "constant"):
            return kind, tuple(number + shift for number in numbers)
    return OTHER


def _key(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
