"""Build the model that `ModelSettings` name: a shipped architecture, or any `_target_`."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from initsearch.dotted import import_path, instantiated
from initsearch.errors import InitSearchError, ModelError
from initsearch.random_state import isolated_random_state
from initsearch.tasks.models.settings import MODELS, ModelSettings


def build_model(
    settings: ModelSettings,
    input_shape: tuple[int, ...],
    num_classes: int,
    dtype: torch.dtype = torch.float32,
    places: tuple[int, ...] = (),
) -> nn.Module:
    """A new model for inputs of a shape, its weights as its framework draws them.

    A `_target_` gets the settings as keyword arguments, and what the data decide where it has a parameter
    for it: `num_classes` (also through `**kwargs`), `input_shape`, and the channels as `in_channels` or
    `in_chans`. A setting of the configuration takes precedence. One whose first convolution takes 3
    channels accepts images of 1 channel too: a forward pre-hook repeats the channel, and parameters keep
    their names.

    Args:
        settings: Which model.
        input_shape: The shape of one input: channels, height and width of an image, `(features,)` of a row
            of a table, `(steps, features)` of a sequence, `(length,)` of a text.
        num_classes: Width of the output.
        dtype: Type of the inputs; int64 for tokens.
        places: The shape of an output before its last axis, where there is one for each position.

    Raises:
        ConfigError: A value breaks a rule of the model, or there is no such `_target_`.
        ModelError: The model cannot be built, or does not map (2, *input_shape) to (2, *places, num_classes).
    """
    if settings.target is None:
        build = MODELS[settings.architecture]
        model = _shipped(build, settings, tuple(input_shape), num_classes)
    else:
        model = _from_target(settings.target, settings.arguments, input_shape, num_classes)
    name = settings.architecture
    batch = torch.zeros(2, *input_shape, dtype=dtype)
    _check_shapes(name, model, batch, (2, *places, num_classes))
    return model


def _shipped(
    build: Callable[..., nn.Module],
    settings: ModelSettings,
    input_shape: tuple[int, ...],
    num_classes: int,
) -> nn.Module:
    """A shipped architecture; each is for inputs with a certain number of axes."""
    try:
        return build(input_shape, num_classes, **settings.arguments)
    except InitSearchError:  # some are a ValueError
        raise
    except (ValueError, IndexError) as error:  # what unpacking another number of axes raises
        raise ModelError(
            f"model {settings.architecture!r} cannot take inputs of shape {input_shape} ({_line(error)}): "
            "choose a model for that shape"
        ) from error


def _from_target(
    target: str, arguments: Mapping[str, Any], input_shape: tuple[int, ...], num_classes: int
) -> nn.Module:
    factory: Any = import_path("model._target_", target)
    offered = {
        "num_classes": num_classes,
        "input_shape": tuple(input_shape),
    }
    if len(input_shape) == 3:
        offered |= {"in_channels": input_shape[0], "in_chans": input_shape[0]}
    try:
        parameters = inspect.signature(factory).parameters
        own = {key: instantiated(f"model.{key}", value) for key, value in arguments.items()}
        kwargs = {**{key: offered[key] for key in offered if key in parameters}, **own}
        model = _call(factory, kwargs, num_classes)
    except InitSearchError:
        raise
    except (Exception, SystemExit) as error:  # a user's model may do anything
        raise ModelError(
            f"model {target!r} cannot be built with {dict(arguments)!r} ({_line(error)}): check the "
            "settings under model"
        ) from error
    if not isinstance(model, nn.Module):
        raise ModelError(
            f"model._target_ {target!r} must build an nn.Module, but built a "
            f"{type(model).__name__}: give the dotted path of another callable"
        )
    first = next((m for m in model.modules() if isinstance(m, nn.Conv2d)), None)
    if (
        len(input_shape) == 3
        and input_shape[0] == 1
        and first is not None
        and first.in_channels == 3
    ):
        model.register_forward_pre_hook(_repeat_gray)
    return model


def _call(factory: Callable[..., Any], kwargs: dict[str, Any], num_classes: int) -> Any:
    """Call a factory; one that takes any keyword is offered `num_classes` too."""
    kinds = {parameter.kind for parameter in inspect.signature(factory).parameters.values()}
    if "num_classes" in kwargs or inspect.Parameter.VAR_KEYWORD not in kinds:
        return factory(**kwargs)
    try:
        # torchvision's and timm's builders pass their **kwargs on, num_classes among them.
        return factory(**kwargs, num_classes=num_classes)
    except TypeError as error:
        if "num_classes" not in str(error):
            raise
        return factory(**kwargs)


def _repeat_gray(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """A gray batch (N, 1, H, W) as (N, 3, H, W)."""
    return (args[0].expand(-1, 3, -1, -1), *args[1:])


def _check_shapes(name: str, model: nn.Module, batch: Tensor, expected: tuple[int, ...]) -> None:
    """Run a batch of two zero inputs through in training mode; the model is left as it was."""
    # Buffers are replaced by copies (a norm's running statistics change in a forward pass), and the
    # generator is put back (dropout draws from it).
    buffers = {key: buffer.clone() for key, buffer in model.named_buffers()}
    shape = f"({', '.join(map(str, batch.shape))})"
    try:
        with torch.no_grad(), isolated_random_state():
            out = torch.func.functional_call(model, buffers, (batch,))
    except (Exception, SystemExit) as error:  # a user's model may do anything
        resize = ", or change it by data.image_size=" if batch.ndim == 4 else ""
        raise ModelError(
            f"model {name!r} fails on a batch of shape {shape} ({_line(error)}): choose a model "
            f"for that shape{resize}"
        ) from error
    got = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
    if got != expected:
        kind = "logits" if len(expected) == 2 else "numbers per position"
        raise ModelError(
            f"model {name!r} must map {shape} to {expected}, but gave {got}: end it in "
            f"{expected[-1]} {kind} and return only that tensor"
        )


def _line(error: BaseException) -> str:
    """An exception as one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
