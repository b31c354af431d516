"""The random state, saved before a piece of code and restored after it."""

import random
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import torch

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
