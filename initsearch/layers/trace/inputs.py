"""The arguments to call a model with: from a batch, or guessed from its first layer."""

import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from initsearch.layers.model.tensors import mapped, tensors
from initsearch.layers.model.walk import walk

# Sizes of a guessed input by its number of spatial dimensions, likely and cheap ones first.
_LENGTHS = {
    1: (64, 128, 256, 1024, 32, 16, 8, 784, 16000),
    2: (32, 28, 64, 224, 96, 128, 256, 299, 16, 8),
    3: (16, 32, 8, 64),
}
_TOKENS = 8


@dataclass(frozen=True)
class Call:
    """The arguments of one call of a model."""

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    def to(self, device: torch.device) -> "Call":
        """The call with its tensors on a device."""
        return self.changed(lambda tensor: tensor.to(device))

    def shortened(self, samples: int) -> "Call":
        """The call with the first samples of all tensors that have the same first dimension."""
        first = next((t for t in tensors((self.args, self.kwargs)) if t.ndim), None)
        if first is None or first.shape[0] <= samples:
            return self
        size = first.shape[0]
        return self.changed(
            lambda tensor: tensor[:samples] if tensor.ndim and tensor.shape[0] == size else tensor
        )

    def changed(self, change: Callable[[Tensor], Tensor]) -> "Call":
        """The call with a function applied to each of its tensors."""
        return Call(mapped(self.args, change), mapped(dict(self.kwargs), change))


def calls_for(model: nn.Module, batch: Any) -> list[Call]:
    """The ways in which a model may be called with a batch, the likeliest first.

    A tensor is the argument. A mapping gives arguments by name, as far as `forward` has them; otherwise
    it is the argument. A list or tuple gives the arguments one by one if `forward` takes that many; a
    pair of inputs and labels (as a data loader yields it) gives the inputs alone if `forward` needs
    only one argument; a longer one gives its first items, as many as `forward` takes (inputs, mask and labels);
    otherwise it is the argument.
    """
    needed, most, names = _signature(model)
    whole = Call((batch,))
    if isinstance(batch, Mapping):
        known = {key: value for key, value in batch.items() if names is None or key in names}
        return [*([Call((), known)] if known else []), whole]
    if not isinstance(batch, list | tuple) or not batch or hasattr(batch, "_fields"):
        return [whole]
    first = calls_for(model, batch[0])
    spread = [Call(tuple(batch))] if needed <= len(batch) <= most else []
    labelled = len(batch) == 2 and isinstance(batch[1], Tensor) and batch[1].ndim <= 1
    if needed <= 1 and (labelled or not spread):
        return [*first, *spread, *_starts(batch, needed, most), whole]
    return [*spread, *_starts(batch, needed, most), *first, whole]


def _starts(batch: Sequence[Any], needed: int, most: float) -> list[Call]:
    """The first items of a batch as arguments, for a batch with labels that `forward` does not take."""
    longest = int(min(most, len(batch) - 1))
    return [Call(tuple(batch[:count])) for count in range(longest, max(needed, 2) - 1, -1)]


def guesses(model: nn.Module) -> Iterator[Call]:
    """Inputs that might fit a model without a known batch, the likeliest first.

    They come from the model's own attributes (`example_input_array`, `dummy_inputs`, an image size), then
    from the shape of its first weight layer.
    """
    for hint in ("example_input_array", "dummy_inputs"):
        said = getattr(model, hint, None)
        if said is not None:
            yield from calls_for(model, said)
    needed = max(1, _signature(model)[0])
    for tensor in _fitting(model):
        yield Call((tensor,) * needed)


def _signature(model: nn.Module) -> tuple[int, float, set[str] | None]:
    """The number of positional arguments `forward` needs and takes, and all names (None: any)."""
    needed, most = 0, 0.0
    names: set[str] | None = set()
    for name, parameter in inspect.signature(model.forward).parameters.items():
        if parameter.kind is parameter.VAR_POSITIONAL:
            most = math.inf
        elif parameter.kind is parameter.VAR_KEYWORD:
            names = None
        else:
            if names is not None:
                names.add(name)
            if parameter.kind is not parameter.KEYWORD_ONLY:
                most += 1
                needed += parameter.default is parameter.empty
    return needed, most, names


def _fitting(model: nn.Module) -> Iterator[Tensor]:
    """Inputs for the first embedding and for the first other weight layer, in their order."""
    found: dict[str, Iterator[Tensor]] = {}
    for _, module, _ in walk(model):
        if isinstance(module, nn.Embedding | nn.EmbeddingBag):
            found.setdefault("tokens", _tokens(module))
        elif shapes := _shapes(model, module):
            found.setdefault("noise", _noise(module, shapes))
    for inputs in found.values():
        yield from inputs


def _tokens(module: nn.Embedding | nn.EmbeddingBag) -> Iterator[Tensor]:
    tokens = torch.arange(2 * _TOKENS, device=module.weight.device).view(2, -1)
    yield tokens % module.num_embeddings


def _noise(module: nn.Module, shapes: Iterable[tuple[int, ...]]) -> Iterator[Tensor]:
    like = next((p for p in module.parameters() if p.is_floating_point()), torch.empty(0))
    generator = torch.Generator().manual_seed(0)
    for shape in shapes:
        drawn = torch.randn(shape, generator=generator)
        yield drawn.to(device=like.device, dtype=like.dtype)


def _shapes(model: nn.Module, module: nn.Module) -> list[tuple[int, ...]]:
    """Shapes of inputs that fit a module, two samples each."""
    if isinstance(module, _ConvNd):
        rank = len(module.kernel_size)
        hinted = _image_size(model) if rank == 2 else None
        sides = [*([hinted] if hinted else []), *((side,) * rank for side in _LENGTHS[rank])]
        return [(2, module.in_channels, *side) for side in sides]
    if isinstance(module, nn.Linear | nn.Bilinear):
        width = int(module.weight.shape[-1])
        return [(2, width), (2, _TOKENS, width), (2, _TOKENS, _TOKENS, width)]
    if isinstance(module, nn.RNNBase):
        return [(2, _TOKENS, module.input_size)]
    if isinstance(module, nn.RNNCellBase):
        return [(2, module.input_size)]
    if isinstance(module, nn.MultiheadAttention):
        return [(2, _TOKENS, module.embed_dim)]
    return []


def _image_size(model: nn.Module) -> tuple[int, int] | None:
    """The image size that models of torchvision or timm state."""
    config = getattr(model, "default_cfg", None)
    size = config.get("input_size") if isinstance(config, Mapping) else None
    for value in (getattr(model, "image_size", None), getattr(model, "img_size", None), size):
        if isinstance(value, int):
            return (value, value)
        if isinstance(value, tuple | list) and len(value) >= 2:
            return (int(value[-2]), int(value[-1]))
    return None
