"""The modules and parameters of a model, by names without the prefixes of wrappers."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

from initsearch.errors import ModelError
from initsearch.layers.model.absent import is_absent
from initsearch.layers.model.stored import Stored, stored_parameters

# A wrapper, and the attribute that holds the module inside, which is left out of a parameter's name.
_WRAPPERS: tuple[tuple[type[nn.Module], str], ...] = (
    (nn.DataParallel, "module"),
    (nn.parallel.DistributedDataParallel, "module"),
)


def unwrap(module: nn.Module) -> nn.Module:
    """The module inside `torch.compile`, `DataParallel`, `DistributedDataParallel` and Fabric's wrapper.

    Raises:
        ModelError: A ScriptModule or a sharded module (FSDP).
    """
    while True:
        if (
            isinstance(module, torch.jit.ScriptModule)
            and next(module.parameters(), None) is not None
        ):
            raise ModelError(
                f"{type(module).__name__} must be an ordinary module, but TorchScript compiled it: "
                "initialize the model before torch.jit.script or trace"
            )
        if type(module).__name__ == "FullyShardedDataParallel":
            raise ModelError(
                "the model's parameters must be whole, but are sharded (FSDP): initialize it "
                "before wrapping"
            )
        inner = _inside(module)
        if inner is None:
            return module
        module = inner


def _inside(module: nn.Module) -> nn.Module | None:
    compiled = module._modules.get("_orig_mod")
    if compiled is not None:
        return compiled
    for wrapper, attribute in _WRAPPERS:
        if isinstance(module, wrapper):
            return module._modules[attribute]
    if (
        type(module).__name__ == "_FabricModule"
    ):  # what `Fabric.setup` returns; known without its import
        return module._modules["_forward_module"]
    return None


def submodule(model: nn.Module, name: str) -> nn.Module:
    """The module of a model by a name from `walk`.

    Raises:
        ModelError: The model has no such module.
    """
    module = unwrap(model)
    for part in name.split(".") if name else ():
        child = module._modules.get(part)
        if child is None:
            raise ModelError(
                f"{type(model).__name__} must be the model that was described, but has no module "
                f"{name!r}"
            )
        module = unwrap(child)
    return module


def walk(model: nn.Module) -> Iterator[tuple[str, nn.Module, tuple[nn.Module, ...]]]:
    """Each name of each module with the module and its ancestors, outermost first.

    A module with two names comes twice. Parametrizations are not entered: what they store belongs to
    the module that reads it.
    """
    yield from _walk(unwrap(model), "", ())


def _walk(
    module: nn.Module, name: str, ancestors: tuple[nn.Module, ...]
) -> Iterator[tuple[str, nn.Module, tuple[nn.Module, ...]]]:
    yield name, module, ancestors
    skipped = (
        module._modules.get("parametrizations") if parametrize.is_parametrized(module) else None
    )
    for key, child in module._modules.items():
        if child is None or child is skipped:
            continue
        path = f"{name}.{key}" if name else key
        yield from _walk(unwrap(child), path, (*ancestors, module))


@dataclass(frozen=True)
class Site:
    """One name of a parameter.

    Attributes:
        name: The qualified name.
        module_name: The qualified name of the module that owns it.
        stored: How that module stores it.
        ancestors: The modules around that module, outermost first.
        nature: What `initsearch.layers.model.kinds.nature_of` has found it to be; `None` before.
    """

    name: str
    module_name: str
    stored: Stored
    ancestors: tuple[nn.Module, ...]
    nature: Any = field(default=None, compare=False, repr=False)


@dataclass
class NamedParameter:
    """A parameter of the model under all its names.

    Attributes:
        sites: One per name. A tied parameter has several; the first gives it its name.
    """

    sites: list[Site] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The first name."""
        return self.sites[0].name


def parameters(model: nn.Module, *, without_data: bool = False) -> list[NamedParameter]:
    """The logical parameters in the order of their registration, tied ones once.

    Two names are tied if they lead to the same memory, even through two parameter objects.

    Args:
        model: Any module.
        without_data: Whether parameters may be on the meta device.

    Raises:
        ModelError: A lazy parameter, a meta tensor unless `without_data`, or a sharded parameter that is
            parametrized.
    """
    found: dict[object, NamedParameter] = {}
    for module_name, module, ancestors in walk(model):
        for stored in stored_parameters(module):
            qualified = f"{module_name}.{stored.attribute}" if module_name else stored.attribute
            if not without_data and any(original.is_meta for _, original in stored.originals):
                raise ModelError(
                    f"{type(module).__name__}.{stored.attribute} must hold data, but is a meta tensor: call "
                    "plan.materialize(model, device), or model.to_empty(device='cpu') first"
                )
            parameter = found.setdefault(_identity(stored), NamedParameter())
            parameter.sites.append(Site(qualified, module_name, stored, ancestors))
    return list(found.values())


def _identity(stored: Stored) -> object:
    return tuple(
        (str(original.device), original.data_ptr(), original.numel())
        if original.numel() and _has_memory(original)
        else id(original)
        for _, original in stored.originals
    )


def _has_memory(tensor: torch.Tensor) -> bool:
    """Whether an address says where a tensor's entries are (not so if it is sparse, sharded or on meta)."""
    return not is_absent(tensor) and tensor.layout == torch.strided and tensor.data_ptr() != 0
