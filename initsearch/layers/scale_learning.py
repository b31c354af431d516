"""Learn a scale for each weight of a model from its training loss on a batch."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from initsearch.digests import seed_of
from initsearch.errors import InitSearchError, ModelError, first_line, shortened
from initsearch.initializers import ModelScaling
from initsearch.layers.differentiable import bags, differentiable
from initsearch.layers.loss import loss_of, split_batch
from initsearch.layers.model.absent import is_sharded
from initsearch.layers.model.assign import Fill, assign_, mark_filled
from initsearch.layers.model.slots import Slot
from initsearch.layers.model.stored import plain_parameter
from initsearch.layers.model.tensors import mapped, tensors
from initsearch.layers.model.walk import submodule, unwrap
from initsearch.layers.trace.inputs import Call, calls_for, guesses
from initsearch.layers.trace.training_step import has_training_step, step_call

#: The training loss of a model on a batch: `loss(model, batch)`.
TrainingLoss = Callable[[nn.Module, Any], Tensor]

# A smaller batch is not split.
_SPLIT = 8
# How often a guessed input is repeated, before its values are drawn again.
_REPEATS = 16
_NOT_PLAIN = "not scaled: it is computed from what is stored, sharded, or differentiated only once"


def learn_scales_(
    model: nn.Module,
    batch: Any,
    scalings: Sequence[tuple[Slot, ModelScaling]],
    seed: int,
    loss: TrainingLoss | None = None,
) -> dict[str, str]:
    """Multiply weights by scales that are learned from the loss on a batch and its gradients.

    The loss is `loss(model, batch)`, if it is given; else what a LightningModule's `training_step` returns;
    else the default loss of the output and the labels, see `loss_of`. Without labels, classes are drawn at
    random. Apart from the weights the model is left as it was; see `preserved`. Layers of dropout are off.
    Norms use the statistics of the batch where the examples are data, and their running ones where they are
    noise.

    A weight keeps its values if it is parametrized or sharded, or in an `EmbeddingBag`, which torch
    differentiates only once.

    Args:
        model: The model that was described, already filled; wrapped or not.
        batch: A batch of the training data, on which the loss can be computed. `None`: inputs are guessed,
            which is enough for initializers that need no data.
        scalings: Slots of weights, each with its initializer; all of one setting but for the base.
        seed: Of the examples drawn.
        loss: See above.

    Returns:
        By the slot's name, a note on what was done, for a report.

    Raises:
        ModelError: The loss cannot be computed on the batch or differentiated often enough, or is not finite.
    """
    core, by = unwrap(model), scalings[0][1]
    notes = {slot.name: _NOT_PLAIN for slot, _ in scalings}
    names = {id(parameter): name for name, parameter in core.named_parameters()}
    learned = {
        names[id(held)]: slot
        for slot, _ in scalings
        if (held := _plain(core, slot)) is not None and held.requires_grad
    }
    if not learned:
        return notes
    excluded = bags(core)
    others = [
        name
        for name, each in core.named_parameters()
        if each.requires_grad and name not in learned and id(each) not in excluded
    ]
    with differentiable(core, training=by.examples == "halves"):
        problem = _Problem(core, _way(core, batch, loss), [*learned, *others], by.examples, seed)
        values = [core.get_parameter(name).detach() for name in learned]
        rest = [core.get_parameter(name) for name in others]
        try:
            scales = by.learned(values, rest, problem.loss)
        except (NotImplementedError, RuntimeError) as error:
            raise ModelError(
                f"{by.name}: the loss of {type(core).__name__} must have three derivatives, but failed with "
                f"{shortened(first_line(error))}: use another initializer"
            ) from error
    for slot, scale in zip(learned.values(), scales, strict=True):
        assign_(core, slot, _times(scale))
        mark_filled(core, slot)
        notes[slot.name] = f"scaled by {scale:.4g}{problem.remark}"
    return notes


def _times(scale: float) -> Fill:
    return lambda view, fan_in, fan_out, part: view.mul_(scale)


def _plain(core: nn.Module, slot: Slot) -> nn.Parameter | None:
    """The parameter that is the slot's weight itself."""
    stored = plain_parameter(submodule(core, slot.module_name), slot.name.rpartition(".")[2])
    if stored is None or is_sharded(stored.originals[0][1]):
        return None
    if id(stored.originals[0][1]) in bags(core):
        return None
    return stored.originals[0][1]


@dataclass(frozen=True)
class _Way:
    """One way to compute the loss.

    Attributes:
        function: What is called.
        call: Its arguments.
        labels: The labels, if they are known.
        is_loss: Whether the function returns the loss itself.
    """

    function: Callable[..., Any]
    call: Call
    labels: Any = None
    is_loss: bool = field(default=False)

    def loss(self, call: Call, labels: Any, generator: torch.Generator) -> Tensor:
        """The loss for other arguments of the same form."""
        output = self.function(*call.args, **call.kwargs)
        if not self.is_loss:
            given = next((each for each in tensors(output) if each.is_floating_point()), None)
            if labels is None and given is not None and given.ndim:
                labels = _random_labels(given, generator)
            return loss_of(None, output, labels)
        found = output.get("loss") if isinstance(output, Mapping) else output
        if not isinstance(found, Tensor) or found.numel() != 1 or not found.requires_grad:
            raise ModelError(
                "the loss must be one number with a gradient (of training_step: with automatic optimization), "
                f"but is of type {type(found).__name__}: pass loss="
            )
        return found.reshape(())


def _way(core: nn.Module, batch: Any, loss: TrainingLoss | None) -> _Way:
    """The first way that works on the batch as it is."""
    first: Exception | None = None
    for way in _ways(core, batch, loss):
        try:
            way.loss(way.call, way.labels, torch.Generator().manual_seed(0))
        except InitSearchError:
            raise
        except Exception as error:  # noqa: BLE001 - a model may raise anything; it is reported below
            first = first or error
        else:
            return way
    reason = f"{type(first).__name__}: {shortened(first_line(first))}" if first else "no input fits"
    raise ModelError(
        f"{type(core).__name__} must give a loss on the batch, but failed with {reason}; pass a batch with its "
        "labels, or loss="
    ) from first


def _ways(core: nn.Module, batch: Any, loss: TrainingLoss | None) -> Iterator[_Way]:
    device = next(core.parameters()).device
    if loss is not None:
        yield _Way(loss, Call((core, *Call((batch,)).to(device).args)), is_loss=True)
    elif batch is not None and has_training_step(core):
        step: Any = core.training_step
        yield _Way(step, step_call(core, batch).to(device), is_loss=True)
    elif batch is None:
        for call in guesses(core):  # which have few examples
            more = call.changed(lambda each: each.repeat(_REPEATS, *(1,) * (each.ndim - 1)))
            yield from (_Way(core, each.to(device)) for each in (more, call))
    else:
        inputs, labels = split_batch(core, batch)
        for call in calls_for(core, inputs):
            yield _Way(core, call.to(device), labels)


def _random_labels(output: Tensor, generator: torch.Generator) -> Tensor:
    """Classes for an output: along its last axis, or the second one of images."""
    axis = 1 if output.ndim > 3 else -1
    shape = list(output.shape)
    return torch.randint(shape.pop(axis), shape, generator=generator)


class _Problem(nn.Module):
    """The loss of a model as a function of its parameters.

    Args:
        model: The model.
        way: How its loss is computed.
        names: Of the parameters, in the order of their values.
        examples: See `ModelScaling`.
        seed: Of the examples.

    Attributes:
        remark: What a report should say of the loss.
    """

    def __init__(
        self, model: nn.Module, way: _Way, names: Sequence[str], examples: str, seed: int
    ) -> None:
        super().__init__()
        self.model = model
        self._way = way
        self._names = [f"model.{name}" for name in names]
        self._examples = examples
        self._seed = seed
        without = way.labels is None and not way.is_loss and examples == "halves"
        self.remark = "; without labels in the batch: of random classes" if without else ""

    def loss(self, values: Sequence[Tensor], draw: int) -> Tensor:
        """The loss for values of the parameters, on the examples of a draw; see `LossAt`."""
        state = dict(zip(self._names, values, strict=True))
        found: Tensor = functional_call(self, state, (draw,))
        return found

    def forward(self, draw: int) -> Tensor:
        """The loss for the parameters that the model has now."""
        generator = torch.Generator().manual_seed(seed_of(f"{self._seed}:examples:{draw}"))
        call, labels = self._way.call, self._way.labels
        if self._examples == "noise":
            call = call.changed(lambda each: _noise_like(each, generator))
        elif (size := _size(call)) >= _SPLIT:
            chosen = self._half(size, draw)

            def part(each: Tensor) -> Tensor:
                return each[chosen.to(each.device)] if each.ndim and len(each) == size else each

            call, labels = call.changed(part), mapped(labels, part)
        return self._way.loss(call, labels, generator)

    def _half(self, size: int, draw: int) -> Tensor:
        """The places of half of the examples; two draws, 2n and 2n + 1, have half of them in common."""
        pair = torch.Generator().manual_seed(seed_of(f"{self._seed}:halves:{draw // 2}"))
        start = (draw % 2) * (size // 4)
        return torch.randperm(size, generator=pair)[start : start + size // 2]


def _size(call: Call) -> int:
    """The number of examples in a call; 0 if that is not known."""
    first = next((each for each in tensors((call.args, call.kwargs)) if each.ndim), None)
    return 0 if first is None else len(first)


def _noise_like(tensor: Tensor, generator: torch.Generator) -> Tensor:
    if not tensor.is_floating_point():
        return tensor
    return torch.randn(tensor.shape, generator=generator).to(tensor)
