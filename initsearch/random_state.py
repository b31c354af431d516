"""The random state: saved before a piece of code and restored after it, or exchanged between several."""

import random
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor

if TYPE_CHECKING:
    import numpy

    Generator = torch.Generator | numpy.random.Generator | numpy.random.RandomState | random.Random


@contextmanager
def isolated_random_state(
    *,
    seed: int | None = None,
    devices: Iterable[torch.device] = (),
    generators: "Iterable[Generator]" = (),
) -> Iterator[None]:
    """Run code that may draw random numbers without moving any random state.

    Saved and restored are the global states of Python's `random`, of NumPy (if it is imported) and of
    torch on the CPU, those of torch on the CUDA devices given, and the generators given.

    Args:
        seed: What to set the global states to inside; `None` leaves them as they are. The generators
            given are never seeded.
        devices: Devices on which the code may draw. All but CUDA devices are ignored.
        generators: Generators that the code may draw from: torch's, NumPy's or `random.Random`.

    Example:
        >>> with isolated_random_state(seed=0):
        ...     noise = torch.randn(3)
    """
    gpus = sorted({_index(device) for device in devices if device.type == "cuda"})
    restores = [_saved(generator) for generator in generators]
    python_state = random.getstate()
    numpy = sys.modules.get("numpy")  # code can only draw from NumPy where it is imported
    numpy_state = numpy.random.get_state() if numpy else None
    with torch.random.fork_rng(devices=gpus, device_type="cuda"):
        try:
            if seed is not None:
                # torch.manual_seed would also seed the devices whose state is not saved.
                torch.default_generator.manual_seed(seed)
                for gpu in gpus:
                    torch.cuda.default_generators[gpu].manual_seed(seed)
                random.seed(seed)
                if numpy:
                    numpy.random.seed(seed % 2**32)
            yield
        finally:
            random.setstate(python_state)
            if numpy:
                numpy.random.set_state(numpy_state)
            for restore in restores:
                restore()


@dataclass(frozen=True, eq=False)
class RandomState:
    """The global random state at one moment: Python's, NumPy's, and torch's on the CPU and on some GPUs.

    Attributes:
        python: As `random.getstate` gives it.
        numpy: As `numpy.random.get_state` gives it; None where NumPy is not imported.
        generators: The state of each of torch's global generators, the CPU's first.
        gpus: The numbers of the CUDA devices that the others belong to.
    """

    python: Any
    numpy: Any
    generators: tuple[Tensor, ...]
    gpus: tuple[int, ...]

    @classmethod
    def now(cls, devices: Iterable[torch.device] = ()) -> Self:
        """The state at this moment.

        Args:
            devices: Those whose state is part of it. All but CUDA devices are ignored.
        """
        gpus = tuple(sorted({_index(device) for device in devices if device.type == "cuda"}))
        numpy = sys.modules.get("numpy")
        return cls(
            random.getstate(),
            numpy.random.get_state() if numpy else None,
            (torch.get_rng_state(), *(torch.cuda.get_rng_state(gpu) for gpu in gpus)),
            gpus,
        )

    def restore(self) -> None:
        """Make this the global state."""
        random.setstate(self.python)
        numpy = sys.modules.get("numpy")
        if numpy and self.numpy is not None:
            numpy.random.set_state(self.numpy)
        torch.set_rng_state(self.generators[0])
        for gpu, state in zip(self.gpus, self.generators[1:], strict=True):
            torch.cuda.set_rng_state(state, gpu)

    def equals(self, other: "RandomState") -> bool:
        """Whether the same numbers would be drawn from both."""
        return (
            self.python == other.python
            and self._numpy_key() == other._numpy_key()
            and all(map(torch.equal, self.generators, other.generators))
        )

    def _numpy_key(self) -> tuple[Any, ...]:
        return () if self.numpy is None else (self.numpy[1].tobytes(), *self.numpy[2:])


def is_generator(value: object) -> bool:
    """Whether a value is a generator that `isolated_random_state` can save and restore."""
    if isinstance(value, torch.Generator | random.Random):
        return not isinstance(value, random.SystemRandom)  # which has no state
    numpy = sys.modules.get("numpy")
    kinds = (numpy.random.Generator, numpy.random.RandomState) if numpy else ()
    return isinstance(value, kinds)


def _index(device: torch.device) -> int:
    return torch.cuda.current_device() if device.index is None else device.index


def _saved(generator: "Generator") -> Callable[[], object]:
    """A function that sets a generator back to its present state."""
    if isinstance(generator, torch.Generator):
        return partial(generator.set_state, generator.get_state())
    if isinstance(generator, random.Random):
        return partial(generator.setstate, generator.getstate())
    if hasattr(generator, "bit_generator"):
        bits = generator.bit_generator
        return partial(setattr, bits, "state", bits.state)
    # NumPy's legacy kind. As a mapping, the state is that of any bit generator.
    return partial(generator.set_state, generator.get_state(legacy=False))
