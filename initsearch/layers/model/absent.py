"""Parameters whose values are not here as a whole: on the meta device, or sharded over devices (`DTensor`).

A model that has such parameters is run with stand-ins: zeros of the full shape, in memory that the system maps
but never fills, so that they cost nothing. A sharded parameter is read by gathering it, one at a time, and
written by each process to its own shard, without communication.
"""

import mmap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

# A private mapping of zeros takes no memory before it is written. Windows has only this kind.
_PRIVATE: dict[str, int] = (
    {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0)}
    if hasattr(mmap, "MAP_PRIVATE")
    else {}
)


def is_sharded(tensor: Tensor) -> bool:
    """Whether a tensor is a `DTensor`; torch's distributed package is not imported for that."""
    kind = type(tensor)
    if kind is Tensor or kind is nn.Parameter:
        return False
    return any(base.__name__ == "DTensor" for base in kind.__mro__)


def is_absent(tensor: Tensor) -> bool:
    """Whether a tensor's values are not in this process as a whole."""
    return tensor.is_meta or is_sharded(tensor)


def whole(tensor: Tensor) -> Tensor:
    """A tensor as a whole: gathered from all processes if it is sharded. All of them must call this."""
    gathered: Tensor = tensor.full_tensor() if is_sharded(tensor) else tensor  # type: ignore[attr-defined]
    return gathered


def store(tensor: Tensor, value: Tensor) -> None:
    """Write to a sharded tensor this process's shard of a whole value; no communication is needed."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(tensor, DTensor)
    local = tensor.to_local()
    value = value.to(local.device)
    shard = distribute_tensor(value, tensor.device_mesh, tensor.placements, src_data_rank=None)
    local.copy_(shard.to_local())


@contextmanager
def standing_in(model: nn.Module) -> Iterator[Mapping[int, Tensor]]:
    """Put stand-ins in the place of a model's absent parameters, and move the other tensors to the CPU.

    Hooks of torch's distributed package, which gather shards around each forward, are off.

    Yields:
        The tensor that stands for each parameter, by the parameter's id.
    """
    made: dict[int, Tensor] = {}
    held: list[tuple[dict[Any, Any], dict[Any, Any]]] = []
    for module in model.modules():
        own = vars(module)
        held += [
            (own[table], dict(own[table]))
            for table in ("_parameters", "_buffers", "_forward_hooks", "_forward_pre_hooks")
            if own[table]
        ]
    try:
        for table, before in held:
            for key, value in before.items():
                if isinstance(value, Tensor):
                    table[key] = made.setdefault(id(value), _stand_in(value))
                elif str(getattr(value, "__module__", "")).startswith("torch.distributed"):
                    del table[key]
        yield made
    finally:
        for table, before in held:
            table.clear()
            table.update(before)


def _stand_in(tensor: Tensor) -> Tensor:
    if not is_absent(tensor) and tensor.device.type == "cpu":
        return tensor
    made = _unfilled(tensor) if is_absent(tensor) else tensor.detach().to("cpu")
    if isinstance(tensor, nn.Parameter):
        made = nn.Parameter(made, requires_grad=tensor.requires_grad)
        made.__dict__.update(
            {key: value for key, value in vars(tensor).items() if not isinstance(value, Tensor)}
        )
    return made


def _unfilled(tensor: Tensor) -> Tensor:
    """Zeros of a tensor's full shape, in memory that is mapped but not used until it is written."""
    size = tensor.numel() * tensor.element_size()
    if not size:
        return torch.zeros(tensor.shape, dtype=tensor.dtype)
    memory = mmap.mmap(-1, size, **_PRIVATE)
    return torch.frombuffer(memory, dtype=tensor.dtype).view(tensor.shape)
