"""Memory and values for a model that was built on the meta device, one parameter at a time."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from initsearch.digests import seed_of
from initsearch.errors import ModelError
from initsearch.initializers import Initializer
from initsearch.layers import Slot
from initsearch.layers.model.absent import is_sharded
from initsearch.layers.model.walk import submodule, unwrap, walk
from initsearch.plan.fill import Assignment, carry_out
from initsearch.random_state import isolated_random_state

#: The note on a parameter that a plan keeps and that had no values.
AS_FRAMEWORK = "as the framework draws it"


def allocate_buffers(model: nn.Module, device: torch.device, seed: int) -> None:
    """Give the buffers of a model memory and their values, those that are on the meta device.

    Their module sets them: by `reset_running_stats` (torch's norms), `reset_parameters`, or the model's
    `_init_weights(module)` (transformers). Parameters on the meta device are left as they are by these.

    Raises:
        ModelError: Nothing sets a buffer.
    """
    core = unwrap(model)
    for name, module, _ in walk(core):
        absent = [key for key, held in module._buffers.items() if held is not None and held.is_meta]
        for key in absent:
            held = module._buffers[key]
            assert held is not None
            module._buffers[key] = torch.empty_like(held, device=device)
        if absent and not _reset(core, name, module, seed, ("reset_running_stats",)):
            raise ModelError(
                f"{name or type(core).__name__}.{absent[0]} must get its values from its module, but "
                f"{type(module).__name__} has no reset_parameters: write one that fills it, or build that "
                "module on the CPU"
            )


def allocate_parameters(model: nn.Module, device: torch.device) -> None:
    """Give the parameters of a model memory without values, those that are on the meta device.

    Tied parameters stay tied, and keep the attributes that were set on them.
    """
    core = unwrap(model)
    before = [
        (module, key, held)
        for module in core.modules()
        for key, held in module._parameters.items()
        if held is not None and held.is_meta
    ]
    made: dict[int, Tensor] = {}

    def empty(tensor: Tensor) -> Tensor:
        if not tensor.is_meta:
            return tensor
        # A sharded one becomes a sharded one, of which each process holds its own shard.
        if id(tensor) not in made:  # a tied one is there already
            made[id(tensor)] = torch.empty_like(tensor, device=device)
        return made[id(tensor)]

    core._apply(empty)  # type: ignore[no-untyped-call]
    first: dict[int, nn.Parameter] = {}
    for module, key, held in before:
        now = module._parameters[key]
        assert now is not None
        now.__dict__.update(vars(held))
        if not is_sharded(now):  # of sharded ones, torch keeps account of the module's own
            module._parameters[key] = first.setdefault(id(held), now)


def set_kept(
    model: nn.Module, assignments: Sequence[Assignment], absent: Iterable[str], seed: int
) -> None:
    """Let what a plan keeps be as the framework makes it, for parameters that have no values yet.

    Those of a known default are assigned to it; the others are set by their module, as in `allocate_buffers`.

    Args:
        model: The model, with memory.
        assignments: Those of the plan; they are changed.
        absent: The names of the parameters that have no values yet.
        seed: The plan's seed.

    Raises:
        ModelError: Nothing sets a parameter.
    """
    waiting = set(absent)
    kept = [each for each in assignments if each.initializer is None and each.slot.name in waiting]
    for slot_module in dict.fromkeys(
        e.slot.module_name for e in kept if e.slot.torch_default is None
    ):
        module = submodule(model, slot_module)
        if not _reset(unwrap(model), slot_module, module, seed):
            slot = next(each.slot for each in kept if each.slot.module_name == slot_module)
            raise ModelError(
                f"{slot.name} must get values, but the plan keeps it and {type(module).__name__} has no "
                "reset_parameters: name it in a rule, or write one"
            )
    for each in kept:
        each.notes.append(AS_FRAMEWORK)
        default: Initializer | None = each.slot.torch_default
        if default is not None:
            each.choice = each.initializer = default


def set_refused(
    model: nn.Module, assignments: Sequence[Assignment], absent: Sequence[str], seed: int
) -> None:
    """The same for parameters that an initializer has refused, and of which the default is known.

    Raises:
        ModelError: It is not known.
    """
    waiting = set(absent)
    refused = [
        each for each in assignments if each.initializer is None and each.slot.name in waiting
    ]
    late = [each for each in refused if AS_FRAMEWORK not in each.notes]
    for each in late:
        default = each.slot.torch_default
        if default is None:
            raise ModelError(
                f"{each.slot.title} must get values: name it in a rule ({'; '.join(each.notes)})"
            )
        each.choice = each.initializer = default
    carry_out(model, late, seed)


def names_without_values(slots: Sequence[Slot], model: nn.Module) -> list[str]:
    """The parameters of a model that are on the meta device."""
    absent = {
        name
        for name, held in unwrap(model).named_parameters(remove_duplicate=False)
        if held.is_meta
    }
    return [slot.name for slot in slots if absent.intersection(slot.stored_as)]


def _reset(
    core: nn.Module, name: str, module: nn.Module, seed: int, methods: Sequence[str] = ()
) -> bool:
    """Let a module set its own values, from a random state that depends on the seed and its name alone."""
    calls: list[Callable[[], Any]] = [
        getattr(module, method)
        for method in (*methods, "reset_parameters")
        if callable(getattr(module, method, None))
    ]
    if callable(init := getattr(core, "_init_weights", None)):
        calls.append(lambda: init(module))
    for call in calls[:1]:
        with torch.no_grad(), isolated_random_state(seed=seed_of(f"{seed}:{name}:reset")):
            call()
    return bool(calls)
