"""One pass of a model, traced: its forward, its training step, or a part of it.

The way of a pass: `trace_forward` runs the model under an `OperationMode`, which sees every torch operation,
and `ModuleHooks`, which see every module. Both report to one `Recorder`, and it returns the `Trace`. Calls go
in this direction only.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from initsearch.errors import ModelError
from initsearch.layers.model.kinds import nature_of
from initsearch.layers.model.preserve import preserved
from initsearch.layers.model.tensors import tensors
from initsearch.layers.model.walk import NamedParameter, parameters, submodule, unwrap, walk
from initsearch.layers.trace.inputs import Call, calls_for, guesses
from initsearch.layers.trace.modules import ModuleHooks
from initsearch.layers.trace.operations import OperationMode
from initsearch.layers.trace.record import Observer, Trace
from initsearch.layers.trace.recorder import Recorder
from initsearch.layers.trace.shapes import ValuesNeededError, on_meta
from initsearch.layers.trace.training_step import quiet, step_call


def trace_forward(
    model: nn.Module,
    batch: Any = None,
    *,
    observer: Observer | None = None,
    samples: int | None = None,
    train: bool | None = None,
    gradients: bool = False,
    after: Callable[[Any], None] | None = None,
    named: Sequence[NamedParameter] | None = None,
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
        named: The model's parameters, if they are known already.

    Raises:
        ModelError: The model fails on the batch, or no guessed input fits; or it has lazy or meta
            parameters, or is sharded or scripted.
    """
    core = unwrap(model)
    tries: Iterable[Call] = guesses(core) if batch is None else calls_for(core, batch)
    run = _Run(core, core, observer, samples, train, gradients, after, named)
    found = run.first_that_succeeds(tries)
    if found is None:
        raise failure(model, batch, run.error) from run.error
    return found


def trace_shapes(
    model: nn.Module, named: Sequence[NamedParameter], batch: Any, samples: int | None = None
) -> Trace | None:
    """Run a model in evaluation mode without values, as `trace_forward` runs it with them.

    Args:
        model: A model for which `shapes_suffice`; it is left as it was.
        named: Its parameters.
        batch: See `trace_forward`.
        samples: See `trace_forward`.

    Returns:
        The trace; `None` if the model needs values, or no input fits.
    """
    core = unwrap(model)
    with on_meta(core) as instead:
        tries = guesses(core) if batch is None else calls_for(core, batch)
        run = _Run(core, core, samples=samples, train=False, named=named, instead=instead)
        try:
            return run.first_that_succeeds(tries)
        except ModelError:
            return None


def trace_training_step(
    model: nn.Module, named: Sequence[NamedParameter], batch: Any, samples: int | None = None
) -> Trace:
    """Run a LightningModule's training step once, and record as `trace_forward` does.

    Args:
        model: A module with a training step; see `has_training_step`.
        named: Its parameters.
        batch: A batch of the training data, as its loader gives it.
        samples: See `trace_forward`.

    Raises:
        ModelError: The training step fails on the batch.
    """
    core = unwrap(model)
    step: Any = core.training_step
    run = _Run(core, step, samples=samples, train=True, gradients=True, named=named)
    found = run.first_that_succeeds([step_call(core, batch)])
    if found is None:
        raise ModelError(
            f"training_step of {type(core).__name__} must run on a batch of the training data, but failed "
            f"with {_reason(run.error)}; pass batch="
        ) from run.error
    return found


def trace_part(model: nn.Module, named: Sequence[NamedParameter], name: str) -> Trace | None:
    """Run one module of a model by itself, on a guessed input; `None` if no guess fits.

    Args:
        model: The model. Its names are those of the trace.
        named: Its parameters.
        name: The module's qualified name.
    """
    core = unwrap(model)
    part = submodule(core, name)
    return _Run(core, part, train=False, named=named).first_that_succeeds(guesses(part))


@dataclass
class _Run:
    """How to run a model, or a part of it, under a recorder.

    Attributes:
        model: The whole model.
        function: What is called.
        error: Why the first try failed, after `first_that_succeeds`; `None` if there was none.
        instead: The tensors without values that stand for the parameters, by their ids; empty if the model has
            its own.

    The others are as in `trace_forward`.
    """

    model: nn.Module
    function: Callable[..., Any]
    observer: Observer | None = None
    samples: int | None = None
    train: bool | None = None
    gradients: bool = False
    after: Callable[[Any], None] | None = None
    named: Sequence[NamedParameter] | None = None
    error: Exception | None = None
    instead: Mapping[int, torch.Tensor] = field(default_factory=dict)

    def first_that_succeeds(self, tries: Iterable[Call]) -> Trace | None:
        """The trace of the first call that does not fail."""
        core = self.model
        named = parameters(core) if self.named is None else self.named
        device = next((p.device for p in core.parameters()), torch.device("cpu"))
        for call in (short.to(device) for each in tries for short in _sizes(each, self.samples)):
            recorder = Recorder(self.observer)
            with preserved(core), torch.set_grad_enabled(self.gradients):
                try:
                    output = self._run(named, call, recorder)
                # A model may raise anything; the caller reports it.
                except Exception as error:
                    if error is recorder.fault or isinstance(error, ModelError):
                        raise
                    self.error = self.error or error
                    if isinstance(error, ValuesNeededError):
                        return None
                    continue
                found = recorder.finish(output)
                if self.after is not None:
                    self.after(output)
            return found
        return None

    def _run(self, named: Sequence[NamedParameter], call: Call, recorder: Recorder) -> Any:
        model = self.model
        if self.train is not None:
            model.train(self.train)
        weights, others = _known(named, recorder, self.instead)
        names: dict[nn.Module, str] = {}
        for name, module, _ in walk(model):
            names.setdefault(module, name)
        for tensor in tensors((call.args, dict(call.kwargs))):
            recorder.know_input(tensor)
        recorder.start()
        losses = quiet(model)
        with (
            ModuleHooks(recorder, names, weights, others),
            OperationMode(recorder, bool(self.instead)),
        ):
            output = self.function(*call.args, **call.kwargs)
        return (output, losses) if losses else output


def _known(
    named: Sequence[NamedParameter], recorder: Recorder, instead: Mapping[int, torch.Tensor]
) -> tuple[dict[nn.Module, tuple[str, ...]], dict[nn.Module, tuple[str, ...]]]:
    """Let a recorder know all parameters. Returns the names of each module's weights, and of its others."""
    weights: dict[nn.Module, tuple[str, ...]] = {}
    others: dict[nn.Module, tuple[str, ...]] = {}
    for parameter in named:
        for site in parameter.sites:
            module, nature = site.stored.module, nature_of(site)
            followed, known = site.stored.by in ("plain", "pruning"), nature.kind != "other"
            for _, original in site.stored.originals:
                tensor = instead.get(id(original), original)
                recorder.know_parameter(tensor, parameter.name, followed, known)
            # torch's older weight_norm keeps the weight itself as a plain tensor.
            held = module.__dict__.get(site.stored.attribute)
            if isinstance(held, torch.Tensor):
                recorder.know_parameter(held, parameter.name, known=known)
            owned = weights if nature.category == "weight" else others
            if parameter.name not in owned.get(module, ()):
                owned[module] = (*owned.get(module, ()), parameter.name)
    return weights, others


def _sizes(call: Call, samples: int | None) -> list[Call]:
    if samples is None:
        return [call]
    short = call.shortened(samples)
    return [call] if short is call else [short, call]


def failure(model: nn.Module, batch: Any, error: Exception | None) -> ModelError:
    """Why a model could not be run on a batch, or on guessed inputs."""
    reason = _reason(error)
    title = type(model).__name__
    if batch is not None:
        return ModelError(
            f"batch must be one that {title} accepts, but its forward failed with {reason}; pass what "
            "you would call the model with"
        )
    if error is None:
        return ModelError(f"{title} has no layer from which to guess an input: pass a batch")
    return ModelError(f"no guessed input fits {title} ({reason}): pass a batch")


def _reason(error: Exception | None) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
