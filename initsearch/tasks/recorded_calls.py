"""Calls of `self.log` and of torchmetrics in a training step.

They are recorded when the step runs for several modules at once, and repeated for each with its own values.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn
from torch.utils._pytree import tree_map

#: What is recorded of a LightningModule, and of a metric; calling a metric calls its `forward`.
LOGGING = ("log", "log_dict")
METHODS = ("forward", "update", "compute", "reset")


@dataclass(frozen=True)
class MetricValue:
    """Stands for what a recorded call returns, which is not known yet.

    Attributes:
        number: That of the call.
    """

    number: int


@dataclass(frozen=True)
class Part:
    """Stands for a part of the module, such as a metric that is logged.

    Attributes:
        path: Its name in the module.
    """

    path: str


@dataclass(frozen=True)
class Call:
    """A call that was recorded; its arguments may contain `MetricValue` and `Part`.

    Attributes:
        path: The name of the module that was called; empty: the whole.
        method: That of the module.
        inputs: The arguments, by position and by name.
    """

    path: str
    method: str
    inputs: tuple[Sequence[Any], Mapping[str, Any]]


@contextmanager
def recorded(module: nn.Module) -> Iterator[list[Call]]:
    """Record these calls of a module instead of making them.

    Args:
        module: A LightningModule; it is left as it was.

    Returns:
        The calls, in order.
    """
    calls: list[Call] = []
    metrics = dict(_metrics(module))
    paths = {id(metric): path for path, metric in metrics.items()}

    def note(path: str, method: str, *args: Any, **kwargs: Any) -> MetricValue:
        inputs = tree_map(
            lambda leaf: Part(paths[id(leaf)]) if id(leaf) in paths else leaf, (args, kwargs)
        )
        calls.append(Call(path, method, inputs))
        return MetricValue(len(calls) - 1)

    changed = [(module, "", LOGGING), *((one, path, METHODS) for path, one in metrics.items())]
    before = [dict(vars(one)) for one, _, _ in changed]
    try:
        for one, path, methods in changed:
            # Not by setattr, which a module or a metric may have made its own.
            vars(one).update({method: partial(note, path, method) for method in methods})
        yield calls
    finally:
        for (one, _, methods), old in zip(changed, before, strict=True):
            for method in methods:
                if method in old:
                    vars(one)[method] = old[method]
                else:
                    del vars(one)[method]


def repeat(module: nn.Module, calls: Sequence[Call]) -> None:
    """Make recorded calls.

    Args:
        module: The one to call.
        calls: With the values of this module.
    """
    results: list[Any] = []

    def real(leaf: Any) -> Any:
        if isinstance(leaf, MetricValue):
            return results[leaf.number]
        return module.get_submodule(leaf.path) if isinstance(leaf, Part) else leaf

    for call in calls:
        target: Callable[..., Any] = getattr(module.get_submodule(call.path), call.method)
        args, kwargs = tree_map(real, call.inputs)
        results.append(target(*args, **kwargs))


def _metrics(module: nn.Module, path: str = "") -> Iterator[tuple[str, nn.Module]]:
    """The metrics and collections of metrics of a module, by name, without those inside of others."""
    # A module has metrics only where torchmetrics is imported.
    torchmetrics: Any = sys.modules.get("torchmetrics")
    if torchmetrics is None:
        return
    kinds = (torchmetrics.Metric, torchmetrics.MetricCollection)
    for name, child in module.named_children():
        if isinstance(child, kinds):
            yield f"{path}{name}", child
        else:
            yield from _metrics(child, f"{path}{name}.")
