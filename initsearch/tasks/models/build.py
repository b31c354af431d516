"""Build the model that a config names: one of this room's, or any `_target_`."""

import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from initsearch.checks import check_choice, check_keys
from initsearch.errors import ConfigError, InitSearchError, ModelError
from initsearch.tasks.models.convnet import ConvNet
from initsearch.tasks.models.mlp import MLP
from initsearch.tasks.models.plain_cnn import PlainCNN
from initsearch.tasks.models.resnet import ResNet

_MODELS: dict[str, Callable[..., nn.Module]] = {
    "mlp": MLP,
    "convnet": ConvNet,
    "plain_cnn": PlainCNN,
    "resnet": ResNet,
}


def list_models() -> list[str]:
    """The names that `build_model` knows."""
    return sorted(_MODELS)


def architecture_name(spec: Mapping[str, Any]) -> str:
    """What to call a model: its `name`, else the last part of its `_target_`.

    Raises:
        ConfigError: The spec has neither.
    """
    name = spec.get("name") or str(spec.get("_target_") or "").rpartition(".")[2]
    if not name:
        raise ConfigError(
            f"model must have a name ({', '.join(list_models())}) or a _target_ (a dotted path to "
            f"a callable that builds an nn.Module), but got {dict(spec)!r}"
        )
    return str(name)


def architecture_label(spec: Mapping[str, Any]) -> str:
    """A model's name with what sets it apart from others of the name: `mlp-30x128-relu`.

    Depth and width come first, then what else is given; of a `_target_`, the last part and all settings.

    Raises:
        ConfigError: The spec has neither a name nor a `_target_`.
    """
    settings = {k: v for k, v in spec.items() if k not in ("name", "_target_") and v is not None}
    size = [str(settings.pop(key)) for key in ("depth", "width") if key in settings]
    rest = [
        value if isinstance(value, str) else f"{key}={value}" for key, value in settings.items()
    ]
    return "-".join([architecture_name(spec), *(["x".join(size)] if size else []), *rest])


def build_model(
    spec: Mapping[str, Any], input_shape: tuple[int, int, int], num_classes: int
) -> nn.Module:
    """A new model for images of a shape, its weights as its framework draws them.

    Args:
        spec: `{"name": "mlp", **settings}` for one of `list_models()`, or
            `{"_target_": "package.module.callable", **kwargs}` for anything that builds an
            `nn.Module`. Beside a `_target_`, `name` is a label only. What the data decide is passed
            where the callable has a parameter for it: `num_classes` (or any `**kwargs`),
            `input_shape`, and the channels as `in_channels` or `in_chans`. The spec's own wins.
        input_shape: Channels, height and width of one image.
        num_classes: Width of the output.

    A `_target_` whose first convolution takes 3 channels accepts images of 1 channel too: a forward
    pre-hook repeats the channel, so that the parameters keep their names.

    Raises:
        ConfigError: An unknown model, setting or activation, or a value that breaks a rule.
        ModelError: The model cannot be built, or does not map (2, C, H, W) to (2, num_classes).
    """
    name = architecture_name(spec)
    if spec.get("_target_") is None:
        check_choice("model", name, _MODELS)
        settings = {key: value for key, value in spec.items() if key not in ("name", "_target_")}
        known = list(inspect.signature(_MODELS[name]).parameters)[2:]
        check_keys(f"setting of model {name}", settings, known)
        model = _MODELS[name](tuple(input_shape), num_classes, **settings)
    else:
        model = _from_target(spec, input_shape, num_classes)
    _check_shapes(name, model, input_shape, num_classes)
    return model


def _from_target(
    spec: Mapping[str, Any], input_shape: tuple[int, int, int], num_classes: int
) -> nn.Module:
    target = spec["_target_"]
    try:
        factory = _locate(str(target))
    except Exception as error:  # whatever the user's module raises as it is imported
        raise ModelError(
            f"model._target_ {target!r} cannot be imported ({_line(error)}): give the dotted path "
            "of a callable that builds an nn.Module, and install its package"
        ) from error
    kwargs = {key: value for key, value in spec.items() if key not in ("name", "_target_")}
    offered = {
        "num_classes": num_classes,
        "input_shape": tuple(input_shape),
        "in_channels": input_shape[0],
        "in_chans": input_shape[0],
    }
    try:
        parameters = inspect.signature(factory).parameters
        kwargs = {**{key: offered[key] for key in offered if key in parameters}, **kwargs}
        model = _call(factory, kwargs, num_classes)
    except InitSearchError:
        raise
    except Exception as error:
        raise ModelError(
            f"model {target!r} cannot be built with {kwargs!r} ({_line(error)}): check the "
            "settings under model"
        ) from error
    if not isinstance(model, nn.Module):
        raise ModelError(
            f"model._target_ {target!r} must build an nn.Module, but built a "
            f"{type(model).__name__}: give the dotted path of another callable"
        )
    first = next((m for m in model.modules() if isinstance(m, nn.Conv2d)), None)
    if input_shape[0] == 1 and first is not None and first.in_channels == 3:
        model.register_forward_pre_hook(_repeat_gray)
    return model


def _locate(path: str) -> Any:
    """What a dotted path names; an attribute comes before a submodule of the same name.

    `torchvision.models.alexnet` is both: `pkgutil.resolve_name` gives the submodule.
    """
    first, *rest = path.split(".")
    found: Any = importlib.import_module(first)
    for part in rest:
        if not hasattr(found, part):
            importlib.import_module(f"{found.__name__}.{part}")
        found = getattr(found, part)
    return found


def _call(factory: Callable[..., Any], kwargs: dict[str, Any], num_classes: int) -> Any:
    """Call a factory; one that takes any keyword is offered `num_classes` besides."""
    kinds = {parameter.kind for parameter in inspect.signature(factory).parameters.values()}
    if "num_classes" in kwargs or inspect.Parameter.VAR_KEYWORD not in kinds:
        return factory(**kwargs)
    try:
        # torchvision's and timm's builders hand their **kwargs, num_classes among them, on.
        return factory(**kwargs, num_classes=num_classes)
    except TypeError as error:
        if "num_classes" not in str(error):
            raise
        return factory(**kwargs)


def _repeat_gray(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Hand a gray batch (N, 1, H, W) on as (N, 3, H, W)."""
    return (args[0].expand(-1, 3, -1, -1), *args[1:])


def _check_shapes(
    name: str, model: nn.Module, input_shape: tuple[int, int, int], num_classes: int
) -> None:
    """Run two black images through, as in training, without leaving a trace in the model."""
    # Buffers are swapped for copies (a norm's running statistics move in a forward pass), and
    # the generator is put back (dropout draws from it).
    buffers = {key: buffer.clone() for key, buffer in model.named_buffers()}
    batch = torch.zeros(2, *input_shape)
    shape = f"(2, {', '.join(map(str, input_shape))})"
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            out = torch.func.functional_call(model, buffers, (batch,))
    except Exception as error:
        raise ModelError(
            f"model {name!r} fails on a batch of shape {shape} ({_line(error)}): choose a model "
            "for that shape, or change it by data.image_size="
        ) from error
    got = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
    if got != (2, num_classes):
        raise ModelError(
            f"model {name!r} must map {shape} to (2, {num_classes}), but gave {got}: have it end "
            f"in {num_classes} logits and return that tensor alone"
        )


def _line(error: Exception) -> str:
    """An exception as one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
