"""What each operation of a forward pass is: a layer, an activation, a norm, or another operation.

Every tensor has a `Lineage`. A weight operation (one that multiplies by a parameter) is a layer: its output
is pending until an activation consumes it. Norms, dropout, pooling, reshapes, sums and all operations that
are not known keep it pending. Tensors that are computed from parameters alone (a weight under weight_norm, a
low-rank product) have the names of these parameters as their lineage: a weight is recognized in any form.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from initsearch.layers.model.tensors import tensors
from initsearch.layers.trace.activations import Applied, activation_name, operation_name
from initsearch.layers.trace.derivation import Derivation
from initsearch.layers.trace.lineage import Lineage, merged, normed
from initsearch.layers.trace.paths import COPIES, MODULATIONS
from initsearch.layers.trace.products import PRODUCTS
from initsearch.layers.trace.record import ATTENTION
from initsearch.layers.trace.recorder import Recorder
from initsearch.layers.trace.shapes import normalized_shape, require_meta
from initsearch.layers.trace.weights import bias_of, layouts_in, takes_weight

# The place of the weight among the arguments.
_PLACES = {
    "linear": 1,
    "bilinear": 2,
    "embedding": 1,
    "embedding_bag": 1,
    **{f"conv{way}{rank}d": 1 for way in ("", "_transpose") for rank in (1, 2, 3)},
}
_NORMS = frozenset(f"{kind}_norm" for kind in ("batch", "group", "instance", "layer", "rms"))
# With the activation inside.
_RECURRENT = {
    "lstm": "gates",
    "gru": "gates",
    "lstm_cell": "gates",
    "gru_cell": "gates",
    "rnn_tanh": "tanh",
    "rnn_relu": "relu",
    "rnn_tanh_cell": "tanh",
    "rnn_relu_cell": "relu",
}


class OperationMode(TorchFunctionMode):
    """Reports to a `Recorder` what each operation under it is.

    Args:
        recorder: Receives the reports.
        shapes_only: Whether all tensors must be on the meta device, which has shapes and no values.
    """

    def __init__(self, recorder: Recorder, shapes_only: bool = False) -> None:
        super().__init__()
        self._recorder = recorder
        self._derivation = Derivation(recorder)
        self._shapes_only = shapes_only

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        recorder = self._recorder
        read = tensors((args, kwargs)) if self._shapes_only or not recorder.paused else []
        if self._shapes_only:
            require_meta(read)
            if func is F.batch_norm:
                func = normalized_shape
        if recorder.paused:
            return func(*args, **kwargs)
        inputs = recorder.lineages.of(read)
        if not inputs:
            return func(*args, **kwargs)
        name = operation_name(func)
        if self._derivation.settle(name, args, kwargs, read):
            inputs = recorder.lineages.of(read)
        activation = activation_name(name, args, kwargs)
        if activation == "softmax" and any(lineage.product for lineage in inputs):
            activation = ATTENTION
        if activation:
            # Before the call, which may overwrite the tensor.
            recorder.activating(activation, inputs, read[0])
        out = func(*args, **kwargs)
        written = [args[0]] if name == "setitem" else tensors(out)
        if not written or name.endswith("_like") or name.startswith("new_"):
            return out
        recorder.next_step()
        for lineage in inputs:
            recorder.use(lineage.parameters)
        if name in COPIES and any(written[0] is tensor for tensor in read):
            return out  # nothing to convert: it is the same tensor
        if activation:
            function = Applied.of(activation, func, args, kwargs)
            recorder.activation(activation, inputs, written, function)
        elif name == "multi_head_attention_forward":
            self._attention_layer(args, kwargs, written)
        elif weights := self._weights(name, args, kwargs, read):
            self._weight_layer(name, weights, args, kwargs, read, written)
        else:
            in_place = any(written[0] is tensor for tensor in read)
            combined = self._combined(name, read, inputs)
            if combined.paths and not combined.parameters:
                combined = replace(combined, paths={})
            recorder.lineages.write(written, combined, in_place)
        alone = all(lineage.parameters for lineage in inputs)
        mixes = name in PRODUCTS and not alone
        if alone or mixes or (name in MODULATIONS and any(lineage.paths for lineage in inputs)):
            self._derivation.made(name, func, args, kwargs, read, written)
        return out

    def _combined(self, name: str, read: Sequence[Tensor], inputs: Sequence[Lineage]) -> Lineage:
        """The result of an operation that is neither a layer nor an activation."""
        if name == "scaled_dot_product_attention":
            return self._recorder.attention(inputs)
        if name in _NORMS:
            return normed(inputs, [each for lineage in inputs for each in lineage.parameters])
        data = [lineage for lineage in inputs if not lineage.parameters]
        if data and len(data) < len(inputs):
            self._recorder.combine(name, (n for each in inputs for n in each.parameters))
        if name in ("add", "sub"):
            self._bias(read, data)
            return self._recorder.addition(inputs)
        if name == "mul" and len(read) == len(inputs) == 2:
            return self._recorder.product(inputs, [tensor.shape for tensor in read])
        if name in PRODUCTS and sum(not lineage.parameters for lineage in inputs) > 1:
            return self._recorder.matrix_product(inputs)
        return merged(inputs, name)

    def _bias(self, read: Sequence[Tensor], data: Sequence[Lineage]) -> None:
        """A parameter that is added to one tensor may be a bias of the layer before."""
        if len(data) != 1:
            return
        for tensor in self._made_of_parameters(read):
            lineage = self._recorder.lineages.get(tensor)
            if lineage is not None and len(lineage.parameters) == 1:
                self._recorder.bias(tensor, next(iter(lineage.parameters)), data[0])

    def _weights(
        self,
        name: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        read: Sequence[Tensor],
    ) -> list[Tensor]:
        """The tensors among the arguments that are weights of a layer."""
        if name in _PLACES:
            place = _PLACES[name]
            weight = args[place] if len(args) > place else kwargs.get("weight")
            if not isinstance(weight, Tensor):
                return []
            lineage = self._recorder.lineages.get(weight)
            return [weight] if lineage and (lineage.parameters or lineage.paths) else []
        if name in _RECURRENT:
            return self._made_of_parameters(read)
        # A product of parameters and constants makes a weight, or its use shows later: see `Draft`.
        if name in PRODUCTS and not all(
            lineage.parameters for lineage in self._recorder.lineages.of(read)
        ):
            return [
                each
                for each in self._made_of_parameters(read)
                if takes_weight(name, args, kwargs, each, self._recorder.lineages.get(each))
            ]
        return []

    def _made_of_parameters(self, read: Sequence[Tensor]) -> list[Tensor]:
        lineages = [(tensor, self._recorder.lineages.get(tensor)) for tensor in read]
        return [tensor for tensor, lineage in lineages if lineage and lineage.parameters]

    def _weight_layer(
        self,
        name: str,
        weights: Sequence[Tensor],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        read: Sequence[Tensor],
        written: Sequence[Tensor],
    ) -> None:
        names: set[str] = set()
        biases: set[str] = set()
        inputs: list[Lineage] = []
        added = bias_of(name, args, kwargs)
        for tensor in read:
            lineage = self._recorder.lineages.get(tensor)
            if lineage is None:
                continue
            if lineage.parameters and tensor is added:
                biases |= lineage.parameters
            elif any(tensor is weight for weight in weights):
                names |= lineage.parameters or set(lineage.paths)
                if not lineage.parameters:
                    inputs.append(lineage)
            else:
                inputs.append(lineage)
        layouts = {}
        for weight in weights:
            lineage = self._recorder.lineages.get(weight)
            paths = lineage.paths if lineage else {}
            if lineage and not lineage.parameters:
                self._recorder.mixed(lineage)
            layouts.update(layouts_in(name, args, kwargs, weight, paths, weights=weights))
        self._recorder.layer(
            name,
            names | biases,
            inputs,
            written,
            activation=_RECURRENT.get(name),
            layouts=layouts,
            biases=sorted(biases),
        )

    def _attention_layer(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], written: Sequence[Tensor]
    ) -> None:
        """torch's attention in one operation: its packed projection, and its output projection."""
        recorder = self._recorder
        given = inspect.signature(F.multi_head_attention_forward).bind(*args, **kwargs).arguments
        inputs: list[Lineage] = []
        inner: set[str] = set()
        last: set[str] = set()
        for key, value in given.items():
            for lineage in recorder.lineages.of(value):
                if key in ("query", "key", "value") or not lineage.parameters:
                    inputs.append(lineage)
                else:
                    (last if key.startswith("out_proj") else inner).update(lineage.parameters)
        if inner:
            inputs = [recorder.layer("attention", inner, inputs, activation=ATTENTION)]
        if last:
            recorder.layer("linear", last, inputs, written)
        else:
            recorder.lineages.write(written, merged(inputs))
