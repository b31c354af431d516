"""Everything that a model holds, saved and restored in place.

A forward pass may change more than buffers: queues, counters, caches, arrays and generators, nested to any
depth. A `Snapshot` follows everything that the modules' attributes lead to and restores the objects
themselves, since the model may rely on their identity. It enters

- modules, registered or not;
- dicts, lists, sets and deques, their subclasses too (`Counter`, `defaultdict`, `OrderedDict`), and tuples;
- tensors, with what was set on them as attributes, and NumPy arrays;
- generators of torch, NumPy and `random`;
- dataclasses, `SimpleNamespace` and objects of the packages that the model's own modules come from.

It does not enter other objects: they may lead out of the model, to a trainer or a data set. Nor does it
enter data sets, data modules and optimizers of the model's own package. Iterators cannot be set back.
"""

import sys
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import is_dataclass
from functools import partial
from operator import is_
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from initsearch.random_state import is_generator

# The commonest values, which hold nothing that could change.
_ATOMS = frozenset({bool, int, float, complex, str, bytes, type(None), type(len), type(lambda: 0)})
# An object that is no module and derives from a class of these leads out of the model.
_OUTSIDE = frozenset({"torch", "lightning", "pytorch_lightning"})


class Snapshot:
    """Everything mutable that some modules lead to, with what it holds now.

    Args:
        modules: The modules.

    Attributes:
        tensors: All tensors found, each once.
        generators: All random generators found. `restore` leaves them alone: their states are saved and
            restored by `isolated_random_state`, together with the global ones.
    """

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        self.tensors: list[Tensor] = []
        self.generators: list[Any] = []
        self._restores: list[Callable[[], None]] = []
        self._empty: list[Any] = []
        # The objects themselves are kept: the id of one that is gone may be given to another.
        self._seen: dict[int, object] = {}
        self._waiting: list[Any] = list(modules)
        # torch's own modules do not show in which package the model's code is.
        self._packages = {_package(type(module)) for module in self._waiting} - _OUTSIDE
        while self._waiting:
            self._save(self._waiting.pop())
        del self._waiting

    def restore(self) -> None:
        """Give everything the contents that it had."""
        for container in self._empty:
            if container:
                container.clear()
        for restore in self._restores:
            restore()

    def _save(self, value: Any) -> None:
        kind = type(value)
        if kind in _ATOMS or id(value) in self._seen:
            return
        self._seen[id(value)] = value
        if (save := _CONTAINERS.get(kind)) is not None:
            if value:
                save(self, value)
            else:  # as most of a module's dicts of hooks are
                self._empty.append(value)
        elif isinstance(value, Tensor):
            if not value.is_meta and not is_lazy(value):
                self.tensors.append(value)
                self._restores.append(_saved_tensor(value))
                self._waiting.append(value.__dict__)
        elif is_generator(value):
            self.generators.append(value)
        elif _is_array(value):
            self._save_array(value)
        else:
            for base, save in _CONTAINERS.items():
                if isinstance(value, base):
                    save(self, value)
                    break
            if self._is_entered(value):
                self._save_attributes(value)

    def _is_entered(self, value: Any) -> bool:
        if isinstance(value, nn.Module):
            return True
        kind = type(value)
        if isinstance(value, type) or any(_package(base) in _OUTSIDE for base in kind.__mro__):
            return False
        own = _package(kind) in self._packages
        return own or is_dataclass(value) or isinstance(value, SimpleNamespace)

    def _save_attributes(self, value: Any) -> None:
        if type(value).__dictoffset__:
            self._save(value.__dict__)
        if _has_slots(type(value)):
            held = _slots(value)
            self._waiting.extend(held.values())
            self._restores.append(partial(_restore_slots, value, held))

    # Containers are read and written by the builtin's own methods: a subclass may refuse.

    def _save_dict(self, container: Any, kind: Any = dict) -> None:
        keys, values = list(kind.keys(container)), list(kind.values(container))
        self._waiting.extend(values)

        def restore() -> None:
            if _same(kind.keys(container), keys) and _same(kind.values(container), values):
                return
            kind.clear(container)
            for key, value in zip(keys, values, strict=True):
                kind.__setitem__(container, key, value)

        self._restores.append(restore)

    def _save_ordered_dict(self, container: Any) -> None:
        self._save_dict(container, OrderedDict)

    def _save_list(self, container: Any) -> None:
        self._save_items(container, list.clear, list.extend)

    def _save_set(self, container: Any) -> None:
        self._save_items(container, set.clear, set.update)

    def _save_deque(self, container: Any) -> None:
        self._save_items(container, deque.clear, deque.extend)

    def _save_tuple(self, container: Any) -> None:
        self._waiting.extend(container)

    def _save_items(
        self, container: Any, clear: Callable[[Any], None], extend: Callable[[Any, Any], None]
    ) -> None:
        held = list(container)
        self._waiting.extend(held)

        def restore() -> None:
            if not _same(container, held):
                clear(container)
                extend(container, held)

        self._restores.append(restore)

    def _save_array(self, array: Any) -> None:
        if array.dtype.hasobject:
            self._waiting.extend(array.flat)
        if not array.flags.writeable:
            return
        held = array.copy()

        def restore() -> None:
            if array.shape != held.shape:
                array.resize(held.shape, refcheck=False)
            array[...] = held

        self._restores.append(restore)


# How each kind of container is saved. A subclass stands before its base.
_CONTAINERS: dict[type, Callable[[Snapshot, Any], None]] = {
    OrderedDict: Snapshot._save_ordered_dict,
    dict: Snapshot._save_dict,
    list: Snapshot._save_list,
    set: Snapshot._save_set,
    deque: Snapshot._save_deque,
    tuple: Snapshot._save_tuple,
}


def _same(now: Collection[Any], held: Collection[Any]) -> bool:
    """Whether two collections have the same objects in the same order."""
    return len(now) == len(held) and all(map(is_, now, held))


def _saved_tensor(tensor: Tensor) -> Callable[[], None]:
    """A function that gives a tensor back its memory, shape, type and values."""
    # Shares the tensor's memory, but neither a new shape nor memory that replaces it.
    alias = tensor.data
    held = _distinct(alias).clone()
    version = None if tensor.is_inference() else tensor._version

    def restore() -> None:
        if _layout(tensor) != _layout(alias):
            tensor.data = alias
        # torch cannot compare sparse or nested tensors; but operations in place raise the version.
        same = (
            _same_bits(_distinct(tensor.data), held)
            if _is_plain(tensor)
            else version == tensor._version
        )
        # A write that is not needed would spoil a graph that still needs the values.
        if not same:
            with torch.no_grad():
                _distinct(tensor).copy_(held)
            if version is not None:
                # The values are those of that version again: a graph that was recorded then still holds, and
                # the tensor does not look as if it had been loaded.
                torch._C._autograd._unsafe_set_version_counter((tensor,), (version,))

    return restore


def _same_bits(tensor: Tensor, held: Tensor) -> bool:
    """Whether two tensors hold the same bits; whole words are compared faster than numbers."""
    if tensor.shape != held.shape or tensor.dtype != held.dtype:
        return False
    words = all(
        each.is_contiguous()
        and each.numel() * each.element_size() % 8 == 0
        and each.storage_offset() * each.element_size() % 8 == 0
        for each in (tensor, held)
    )
    if not words or not tensor.numel() or tensor.is_conj() or tensor.is_neg():
        return torch.equal(tensor, held)
    return torch.equal(tensor.view(-1).view(torch.int64), held.view(-1).view(torch.int64))


def _layout(tensor: Tensor) -> object:
    """What identifies a tensor's view of its memory."""
    if not _is_plain(tensor):
        return tensor.dtype
    return tensor.dtype, tensor.device, tensor.data_ptr(), tensor.shape, tensor.stride()


def _distinct(tensor: Tensor) -> Tensor:
    """A tensor without the repetitions of `expand`, into which nothing can be written."""
    if _is_plain(tensor):
        for dimension, stride in enumerate(tensor.stride()):
            if stride == 0 and tensor.shape[dimension] > 1:
                tensor = tensor.narrow(dimension, 0, 1)
    return tensor


def _is_plain(tensor: Tensor) -> bool:
    """Whether a tensor is a view of memory (not so if it is sparse, nested or made of tensors)."""
    own = type(tensor).__torch_dispatch__ is not Tensor.__torch_dispatch__
    return tensor.layout == torch.strided and not tensor.is_nested and not own


def _has_slots(kind: type) -> bool:
    return any("__slots__" in vars(base) for base in kind.__mro__)


def _slots(value: Any) -> dict[str, Any]:
    """An object's attributes in slots, those that are set."""
    state = object.__getstate__(value)  # a pair, with the slots second, if any of them is set
    return state[1] if isinstance(state, tuple) else {}


def _restore_slots(value: Any, held: dict[str, Any]) -> None:
    # As `object` does it: the class may be frozen.
    for name in _slots(value).keys() - held.keys():
        object.__delattr__(value, name)
    for name, content in held.items():
        object.__setattr__(value, name, content)


def _is_array(value: Any) -> bool:
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.ndarray)


def _package(kind: type) -> str:
    return kind.__module__.partition(".")[0]
