"""One forward pass of a model, traced.

The way of a pass: `trace_forward` runs the model under an `OperationMode`, which sees every torch operation,
and `ModuleHooks`, which see every module. Both report to one `Recorder`, and it returns the `Trace`. Calls go
in this direction only.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import nn

from initsearch.errors import ModelError
from initsearch.layers.model.kinds import nature_of
from initsearch.layers.model.preserve import preserved
from initsearch.layers.model.tensors import tensors
from initsearch.layers.model.walk import NamedParameter, parameters, unwrap, walk
from initsearch.layers.trace.inputs import Call, calls_for, guesses
from initsearch.layers.trace.modules import ModuleHooks
from initsearch.layers.trace.operations import OperationMode
from initsearch.layers.trace.record import Observer, Trace
from initsearch.layers.trace.recorder import Recorder


def trace_forward(
    model: nn.Module,
    batch: Any = None,
    *,
    observer: Observer | None = None,
    samples: int | None = None,
    train: bool | None = None,
    gradients: bool = False,
    after: Callable[[Any], None] | None = None,
) -> Trace:
    """Run a model once and record its weight layers and what follows each.

    The model is left as it was: see `preserved`.

    Args:
        model: Any module, wrapped (`torch.compile`, `DataParallel`) or not.
        batch: A tensor, a tuple or list of arguments, a mapping of arguments by name, or a pair of
            inputs and labels from a data loader. `None`: the model's `example_input_array`, or a
            guess.
        observer: Notified of each layer's output and each activation as they happen.
        samples: How many samples of the batch to use; fewer are cheaper. If the model fails on
            them, all are used. `None`: all.
        train: The mode to run in; `None` is the model's own.
        gradients: Whether the forward pass records gradients.
        after: Called with the model's output before anything is restored: the point at which to run
            a backward pass. Gradients that it leaves in the parameters are discarded.

    Raises:
        ModelError: The model fails on the batch, or no guessed input fits; or it has lazy or meta
            parameters, or is sharded or scripted.
    """
    core = unwrap(model)
    named = parameters(core)
    device = next((p.device for p in core.parameters()), torch.device("cpu"))
    tries: Iterable[Call] = guesses(core) if batch is None else calls_for(core, batch)
    first: Exception | None = None
    for call in (short.to(device) for each in tries for short in _sizes(each, samples)):
        recorder = Recorder(observer)
        with preserved(core), torch.set_grad_enabled(gradients):
            try:
                output = _run(core, named, call, recorder, train)
            except Exception as error:  # a model may raise anything; it is reported below
                if error is recorder.fault or isinstance(error, ModelError):
                    raise
                first = first or error
                continue
            found = recorder.finish(output)
            if after is not None:
                after(output)
        return found
    raise failure(model, batch, first) from first


def _sizes(call: Call, samples: int | None) -> list[Call]:
    if samples is None:
        return [call]
    short = call.shortened(samples)
    return [call] if short is call else [short, call]


def _run(
    model: nn.Module,
    named: Sequence[NamedParameter],
    call: Call,
    recorder: Recorder,
    train: bool | None,
) -> Any:
    if train is not None:
        model.train(train)
    weights: dict[nn.Module, tuple[str, ...]] = {}
    others: dict[nn.Module, tuple[str, ...]] = {}
    for parameter in named:
        for site in parameter.sites:
            module = site.stored.module
            followed = site.stored.by in ("plain", "pruning")
            for _, original in site.stored.originals:
                recorder.know_parameter(original, parameter.name, followed)
            # torch's older weight_norm keeps the weight itself as a plain tensor.
            held = module.__dict__.get(site.stored.attribute)
            if isinstance(held, torch.Tensor):
                recorder.know_parameter(held, parameter.name)
            owned = weights if nature_of(site).category == "weight" else others
            if parameter.name not in owned.get(module, ()):
                owned[module] = (*owned.get(module, ()), parameter.name)
    names: dict[nn.Module, str] = {}
    for name, module, _ in walk(model):
        names.setdefault(module, name)
    for tensor in tensors((call.args, dict(call.kwargs))):
        recorder.know_input(tensor)
    recorder.start()
    with ModuleHooks(recorder, names, weights, others), OperationMode(recorder):
        return model(*call.args, **call.kwargs)


def failure(model: nn.Module, batch: Any, error: Exception | None) -> ModelError:
    """Why a model could not be run on a batch, or on guessed inputs."""
    reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    title = type(model).__name__
    if batch is not None:
        return ModelError(
            f"batch must be one that {title} accepts, but its forward failed with {reason}; pass what "
            "you would call the model with"
        )
    if error is None:
        return ModelError(f"{title} has no layer from which to guess an input: pass a batch")
    return ModelError(f"no guessed input fits {title} ({reason}): pass a batch")
