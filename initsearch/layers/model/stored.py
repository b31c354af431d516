"""How a module holds a parameter, plain or parametrized, and how it is read and written."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import _SpectralNorm
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from initsearch.errors import ModelError, first_line
from initsearch.layers.model.absent import is_sharded, store, whole

# The number of power iterations with which torch itself sets up spectral_norm.
_SPECTRAL_ITERATIONS = 15


@dataclass(frozen=True)
class Stored:
    """One logical parameter of a module.

    Attributes:
        module: The module that reads it.
        attribute: The name by which the module reads it.
        by: `plain`, or what computes it: `parametrization`, `weight_norm`, `spectral_norm`,
            `pruning` (the last three are torch's older kind, a hook that sets the attribute before
            each forward).
        originals: The stored parameters, by name relative to the module.
    """

    module: nn.Module
    attribute: str
    by: str
    originals: tuple[tuple[str, nn.Parameter], ...]

    @property
    def how(self) -> str:
        """What computes the parameter from what is stored, in words."""
        if self.by != "parametrization":
            return self.by
        steps = self.module.parametrizations[self.attribute]  # type: ignore[index]
        return " and ".join(type(step).__name__.strip("_") for step in steps) + " parametrization"

    def read(self) -> Tensor:
        """The value that the module computes with; no gradient is recorded."""
        if self.by == "plain":
            return whole(getattr(self.module, self.attribute).detach())
        with torch.no_grad():
            if self.by == "weight_norm":
                hook = _hook(self.module, self.attribute, WeightNorm)
                return hook.compute_weight(self.module).detach()  # type: ignore[no-any-return]
            if self.by == "spectral_norm":
                hook = _hook(self.module, self.attribute, SpectralNorm)
                return hook.compute_weight(self.module, False).detach()  # type: ignore[no-any-return]
            if self.by != "parametrization":
                return getattr(self.module, self.attribute).detach()  # type: ignore[no-any-return]
            steps: Any = self.module.parametrizations[self.attribute]  # type: ignore[index]
            # In training mode spectral_norm changes its buffers whenever the weight is read.
            modes = [(step, step.training) for step in steps.modules()]
            steps.eval()
            try:
                return getattr(self.module, self.attribute).detach()  # type: ignore[no-any-return]
            finally:
                for step, mode in modes:
                    step.training = mode

    def write(self, name: str, value: Tensor) -> None:
        """Make the module compute with `value`, or with what the parametrization makes of it.

        Args:
            name: The parameter's qualified name, for errors.
            value: Of the parameter's shape.

        Raises:
            ModelError: The parametrization cannot be set, or has no finite weight for this value
                (zeros under weight_norm). The module is then as it was.
        """
        before = [(tensor, tensor.detach().clone()) for tensor in self._kept()]
        held = self.module.__dict__.get(self.attribute)
        try:
            with torch.no_grad():
                self._write(value)
                good = bool(torch.isfinite(self.read()).all()) or not bool(
                    torch.isfinite(value).all()
                )
        except (NotImplementedError, RuntimeError, ValueError) as error:
            self._restore(before, held)
            raise ModelError(
                f"{name}: its {self.by} must be one that can be set, but failed with "
                f"{first_line(error)}; leave it as it is (keep)"
            ) from error
        if not good:
            self._restore(before, held)
            raise ModelError(
                f"{name}: its {self.by} gives no finite weight for the values drawn (a row of zeros "
                "has no direction); use an initializer without rows of zeros, or keep"
            )

    def _kept(self) -> Iterator[Tensor]:
        """What is stored, and what buffers derive from it (such as singular vectors)."""
        for _, original in self.originals:
            yield original
        if self.by == "parametrization":
            steps: Any = self.module.parametrizations[self.attribute]  # type: ignore[index]
            yield from steps.buffers()
        else:
            yield from (buffer for buffer in self.module._buffers.values() if buffer is not None)

    def _restore(self, before: list[tuple[Tensor, Tensor]], held: object) -> None:
        with torch.no_grad():
            for tensor, value in before:
                tensor.copy_(value)
        if held is not None:  # the weight itself, as torch's older hooks keep it
            setattr(self.module, self.attribute, held)

    def _write(self, value: Tensor) -> None:
        if self.by == "parametrization":
            setattr(self.module, self.attribute, value)
        elif self.by == "weight_norm":
            dim = _hook(self.module, self.attribute, WeightNorm).dim
            originals = dict(self.originals)
            originals[f"{self.attribute}_v"].copy_(value)
            originals[f"{self.attribute}_g"].copy_(torch.norm_except_dim(value, 2, dim))
        elif is_sharded(self.originals[0][1]):
            store(self.originals[0][1], value)
        else:
            self.originals[0][1].copy_(value)
        self._refresh()

    def _refresh(self) -> None:
        """Update what is derived from the originals."""
        module, name = self.module, self.attribute
        if self.by == "parametrization":
            for step in module.parametrizations[name]:  # type: ignore[index]
                if isinstance(step, _SpectralNorm):
                    _settle(step, module, name)
        elif self.by == "pruning":
            setattr(module, name, _hook(module, name, BasePruningMethod).apply_mask(module))
        elif self.by == "spectral_norm":
            hook = _hook(module, name, SpectralNorm)
            weight = getattr(module, f"{name}_orig")
            _restart(getattr(module, f"{name}_u"), getattr(module, f"{name}_v"))
            hook.n_power_iterations, kept = _SPECTRAL_ITERATIONS, hook.n_power_iterations
            try:
                setattr(module, name, hook.compute_weight(module, weight.ndim > 1))
            finally:
                hook.n_power_iterations = kept
        elif self.by == "weight_norm":
            setattr(module, name, self.read())


def stored_parameters(module: nn.Module) -> Iterator[Stored]:
    """The logical parameters that a module itself owns, in the order of their registration.

    Raises:
        ModelError: A lazy parameter, or a sharded one that is parametrized.
    """
    # Without hooks, none of torch's older kind sets a weight.
    hooked = dict(_hooked(module)) if module._forward_pre_hooks else {}
    done: set[str] = set()
    for name, parameter in module._parameters.items():
        if parameter is None:
            continue
        if name not in hooked:
            yield _checked(Stored(module, name, "plain", ((name, parameter),)))
            continue
        attribute, by = hooked[name]
        if attribute in done:
            continue
        done.add(attribute)
        names = [key for key, value in hooked.items() if value[0] == attribute]
        originals = tuple((key, cast(nn.Parameter, module._parameters[key])) for key in names)
        yield _checked(Stored(module, attribute, by, originals))
    if parametrize.is_parametrized(module):
        for attribute, steps in module.parametrizations.items():  # type: ignore[operator,union-attr]
            prefix = f"parametrizations.{attribute}"
            originals = tuple(
                (f"{prefix}.{key}", value)
                for key, value in steps._parameters.items()
                if value is not None
            )
            if originals:
                yield _checked(Stored(module, attribute, "parametrization", originals))


def plain_parameter(module: nn.Module, name: str) -> Stored | None:
    """A parameter that a module without hooks reads as it is stored; `None` if it has no such parameter.

    Raises:
        ModelError: A lazy parameter, or a sharded one that is parametrized.
    """
    parameter = module._parameters.get(name)
    if parameter is None or module._forward_pre_hooks:
        return None
    return _checked(Stored(module, name, "plain", ((name, parameter),)))


def _hooked(module: nn.Module) -> Iterator[tuple[str, tuple[str, str]]]:
    """Parameters of torch's older hooks: name -> (the attribute that the hook sets, which hook)."""
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, WeightNorm):
            yield f"{hook.name}_g", (hook.name, "weight_norm")
            yield f"{hook.name}_v", (hook.name, "weight_norm")
        elif isinstance(hook, SpectralNorm):
            yield f"{hook.name}_orig", (hook.name, "spectral_norm")
        elif isinstance(hook, BasePruningMethod):
            yield f"{hook._tensor_name}_orig", (hook._tensor_name, "pruning")


def _hook(module: nn.Module, attribute: str, kind: type) -> Any:
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, kind) and attribute in (
            getattr(hook, "name", None),
            getattr(hook, "_tensor_name", None),
        ):
            return hook
    raise ModelError(f"{type(module).__name__}.{attribute}: its {kind.__name__} hook is missing")


def _settle(step: _SpectralNorm, module: nn.Module, name: str) -> None:
    """Run the power iteration for the new weight's largest singular value.

    It starts from a fixed vector: the result is a function of the weight alone.
    """
    if step.__dict__.get("_buffers", {}).get("_u") is None:
        return
    mode = step.training
    _restart(step._u, step._v)
    step.train()
    try:
        for _ in range(_SPECTRAL_ITERATIONS):
            getattr(module, name)
    finally:
        step.train(mode)


def _restart(*vectors: Tensor) -> None:
    generator = torch.Generator().manual_seed(0)
    for vector in vectors:
        start = torch.randn(vector.shape, generator=generator)
        vector.copy_(start / start.norm())


def _checked(stored: Stored) -> Stored:
    where = f"{type(stored.module).__name__}.{stored.attribute}"
    for _, original in stored.originals:
        if is_lazy(original):
            raise ModelError(
                f"{where} must have a shape, but is lazy (uninitialized): run one batch through "
                "the model first"
            )
        if stored.by != "plain" and is_sharded(original):
            raise ModelError(
                f"{where} must be whole, since its {stored.how} computes it, but is sharded over devices: "
                "initialize the model before fully_shard or parallelize_module"
            )
    return stored
