"""Run a model so that its gradients can be differentiated again: torch's fused kernels have few derivatives."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from initsearch.layers.model.preserve import preserved
from initsearch.layers.trace.training_step import quiet


@contextmanager
def differentiable(model: nn.Module, training: bool) -> Iterator[None]:
    """Within it, the outputs of a model have three derivatives; afterwards the model is left as it was.

    Attention, recurrent layers and norms by the statistics of the batch run as separate operations. Layers of
    dropout are off, and a LightningModule neither logs nor steps.

    Args:
        model: The model.
        training: Its mode.
    """
    with ExitStack() as stack:
        stack.enter_context(preserved(model))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        stack.enter_context(torch.backends.cudnn.flags(enabled=False))
        stack.enter_context(_Norms())
        model.train(training)
        for module in model.modules():
            if isinstance(module, nn.modules.dropout._DropoutNd):
                module.eval()
        quiet(model)
        yield


def bags(model: nn.Module) -> set[int]:
    """The ids of the weights of embedding bags, which torch differentiates only once."""
    return {id(each.weight) for each in model.modules() if isinstance(each, nn.EmbeddingBag)}


class _Norms(TorchFunctionMode):
    """Computes norms that use the statistics of a batch from means and squares."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run one function of torch."""
        if func in (F.batch_norm, F.instance_norm):
            given = inspect.signature(func).bind(*args, **(kwargs or {}))
            given.apply_defaults()
            said = given.arguments
            if said["training" if func is F.batch_norm else "use_input_stats"]:
                return _normed(
                    said["input"],
                    func is F.batch_norm,
                    said["weight"],
                    said["bias"],
                    said["eps"],
                )
        return func(*args, **(kwargs or {}))


def _normed(
    x: Tensor, over_batch: bool, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    axes = [*([0] if over_batch else []), *range(2, x.ndim)]
    centered = x - x.mean(axes, keepdim=True)
    normed: Tensor = centered / (centered.square().mean(axes, keepdim=True) + eps).sqrt()
    shape = (1, -1, *(1,) * (x.ndim - 2))
    normed = normed if weight is None else normed * weight.view(shape)
    return normed if bias is None else normed + bias.view(shape)
