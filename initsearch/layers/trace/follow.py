"""Following each weight layer's output through a forward pass until an activation consumes it.

Under `FollowMode` every tensor carries a `Lineage`. A weight operation (one that multiplies with a
parameter) starts a call and marks its output as pending. Norms, dropout, pooling, reshapes, sums
and whatever else is not known pass the mark on. An activation takes it. Tensors made of parameters
alone (a weight under weight_norm, a low-rank product) carry the names of these parameters instead,
so that a weight is known in whatever form it is used.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

from initsearch.layers.model.tensors import tensors
from initsearch.layers.trace.activations import Applied, activation_name, operation_name
from initsearch.layers.trace.ledger import Ledger
from initsearch.layers.trace.lineage import Lineage, fresh_root, merged, normed
from initsearch.layers.trace.record import ATTENTION, LayerCall, Observer, Use

# Where the weight stands among the arguments.
_PLACED = {
    "linear": 1,
    "bilinear": 2,
    "embedding": 1,
    "embedding_bag": 1,
    **{f"conv{way}{rank}d": 1 for way in ("", "_transpose") for rank in (1, 2, 3)},
}
_PRODUCTS = frozenset(
    """
    matmul mm bmm mv addmm addbmm baddbmm einsum tensordot inner grouped_mm scaled_mm
    """.split()  # noqa: SIM905 - as the words of a sentence they are read at a glance
)
_NORMS = frozenset(f"{kind}_norm" for kind in ("batch", "group", "instance", "layer", "rms"))
# With the activation that they have inside.
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


class FollowMode(TorchFunctionMode):
    """Records in a `Ledger` what runs under it.

    Args:
        ledger: What is recorded.
        observer: Told of layers and activations as they happen.

    Attributes:
        fault: What the observer raised, if it did; else the model is at fault.
    """

    def __init__(self, ledger: Ledger, observer: Observer | None = None) -> None:
        super().__init__()
        self.ledger = ledger
        self.fault: Exception | None = None
        self._observer = observer or Observer()
        self._states: WeakIdKeyDictionary = WeakIdKeyDictionary()
        self._resting = 0

    def know_parameter(self, tensor: Tensor, name: str) -> None:
        """Let a tensor stand for the parameter `name`."""
        self._states[tensor] = Lineage(parameters=frozenset({name}), root=fresh_root())
        self.ledger.know_parameter(name, tensor.ndim)

    def know_input(self, tensor: Tensor) -> None:
        """Let a tensor be known as the model's input."""
        if self.state(tensor) is None:
            self._states[tensor] = Lineage(from_input=True, root=fresh_root())

    def state(self, tensor: Tensor) -> Lineage | None:
        """What is known of a tensor; None for constants."""
        return self._states.get(tensor)  # type: ignore[no-any-return,no-untyped-call]

    def states(self, value: Any) -> list[Lineage]:
        """What is known of the tensors in nested containers."""
        return [s for tensor in tensors(value) if (s := self.state(tensor)) is not None]

    @contextmanager
    def rest(self) -> Iterator[None]:
        """Run something without following it."""
        self._resting += 1
        try:
            yield
        finally:
            self._resting -= 1

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if self._resting:
            return func(*args, **kwargs)
        read = list(tensors((args, kwargs)))
        states = self.states(read)
        if not states:
            return func(*args, **kwargs)
        name = operation_name(func)
        activation = activation_name(name, args, kwargs)
        if activation == "softmax" and any(state.product for state in states):
            activation = ATTENTION
        if activation:
            self.activating(states, activation, read[0])
        out = func(*args, **kwargs)
        written = [args[0]] if name == "setitem" else list(tensors(out))
        if not written or name.endswith("_like") or name.startswith("new_"):
            return out
        self.ledger.next_step()
        for state in states:
            self.ledger.touch(state.parameters)
        if activation:
            function = Applied.of(activation, func, args, kwargs)
            self.mark(written, self.ledger.activate(activation, states, function))
            self.activated(states, activation, written[0])
        elif name == "multi_head_attention_forward":
            self._attention_layer(args, kwargs, written)
        elif weights := self._weights(name, args, kwargs, read):
            self._weight_layer(name, weights, read, written)
        else:
            in_place = any(written[0] is tensor for tensor in read)
            self.mark(written, self._joined(name, read, states), in_place)
        return out

    def start(self) -> None:
        """Tell the observer that a forward pass begins."""
        self._tell(self._observer.started)

    def produced(self, call: LayerCall, output: Tensor) -> None:
        """Tell the observer of a layer's output."""
        self._tell(self._observer.produced, call, output)

    def activating(self, states: Sequence[Lineage], name: str, tensor: Tensor) -> None:
        """Tell the observer of an activation that is about to consume `tensor`."""
        for index in sorted(merged(states).pending):
            self._tell(self._observer.activating, self.ledger.calls[index], name, tensor)

    def activated(self, states: Sequence[Lineage], name: str, tensor: Tensor) -> None:
        """Tell the observer of an activation's result."""
        for index in sorted(merged(states).pending):
            self._tell(self._observer.activated, self.ledger.calls[index], name, tensor)

    def _tell(self, told: Callable[..., None], *what: Any) -> None:
        try:
            told(*what)
        except Exception as error:
            self.fault = error
            raise

    def _joined(self, name: str, read: Sequence[Tensor], states: Sequence[Lineage]) -> Lineage:
        """The result of an operation without weights that is no activation."""
        if name == "scaled_dot_product_attention":
            came = merged(states)
            self.ledger.consume(came.pending, Use(ATTENTION, self.ledger.step))
            return replace(came, pending=frozenset(), tail=frozenset())
        if name in _NORMS:
            return normed(states, [n for state in states for n in state.parameters])
        if name in ("add", "sub"):
            return self.ledger.join(states)
        if name == "mul" and len(read) == len(states) == 2:
            return self.ledger.gate(states, [tensor.shape for tensor in read])
        if name in _PRODUCTS and sum(not state.parameters for state in states) > 1:
            return self.ledger.multiply(states)
        return merged(states, name)

    def _weights(
        self,
        name: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        read: Sequence[Tensor],
    ) -> list[Tensor]:
        """The tensors among the arguments that are weights of a layer."""
        made = [tensor for tensor in read if any(s.parameters for s in self.states(tensor))]
        if name in _PLACED:
            place = _PLACED[name]
            weight = args[place] if len(args) > place else kwargs.get("weight")
            return [tensor for tensor in made if tensor is weight]
        if name in _RECURRENT:
            return made
        # Among parameters and constants a product makes a weight, it uses none.
        if name not in _PRODUCTS or all(state.parameters for state in self.states(read)):
            return []
        return [tensor for tensor in made if tensor.ndim > 1]

    def _weight_layer(
        self,
        name: str,
        weights: Sequence[Tensor],
        read: Sequence[Tensor],
        written: Sequence[Tensor],
    ) -> None:
        names: set[str] = set()
        inputs: list[Lineage] = []
        for tensor in read:
            for state in self.states(tensor):
                if state.parameters and (tensor.ndim == 1 or any(tensor is w for w in weights)):
                    names |= state.parameters
                else:
                    inputs.append(state)
        call = self.ledger.start(name, names, inputs)
        if name in _PRODUCTS or name == "linear":
            rows, columns = (float(size) for size in weights[0].shape[-2:])
            # x @ W contracts the rows of W, W @ x and linear(x, W) its columns.
            turned = name == "linear" or read[0] is weights[0]
            call.fans = (columns, rows) if turned else (rows, columns)
        self.mark(written, self.ledger.after(call, _RECURRENT.get(name)))
        self.produced(call, written[0])

    def _attention_layer(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], written: Sequence[Tensor]
    ) -> None:
        """torch's attention in one operation: its packed projection, and its output projection."""
        given = inspect.signature(F.multi_head_attention_forward).bind(*args, **kwargs).arguments
        inputs: list[Lineage] = []
        inner: set[str] = set()
        last: set[str] = set()
        for key, value in given.items():
            for state in self.states(value):
                if key in ("query", "key", "value") or not state.parameters:
                    inputs.append(state)
                else:
                    (last if key.startswith("out_proj") else inner).update(state.parameters)
        if inner:
            call = self.ledger.start("attention", inner, inputs)
            inputs = [self.ledger.after(call, ATTENTION)]
        if not last:
            self.mark(written, merged(inputs))
            return
        call = self.ledger.start("linear", last, inputs)
        self.mark(written, self.ledger.after(call))
        self.produced(call, written[0])

    def mark(self, written: Iterable[Tensor], state: Lineage, in_place: bool = False) -> None:
        """Let tensors carry a state; the parts of a split are values apart."""
        for number, tensor in enumerate(written):
            if number:
                state = replace(state, root=fresh_root())
            known = self.state(tensor)
            self._states[tensor] = state
            if known is not None:
                self._mark_views(tensor, state)
            elif in_place and tensor._base is not None:
                # What is written to a part is in the whole.
                whole = self.states(tensor._base)
                self._states[tensor._base] = merged([*whole, state])

    def _mark_views(self, tensor: Tensor, state: Lineage) -> None:
        """After an operation in place: other tensors on all of the same memory changed with it."""
        if not _has_plain_memory(tensor):
            return
        start, size = tensor.data_ptr(), tensor.numel()
        for other in list(self._states.keys()):  # type: ignore[no-untyped-call]
            same = _has_plain_memory(other) and other.numel() == size and other.data_ptr() == start
            if same and other is not tensor:
                self._states[other] = state

    def finish(self, output: Any) -> None:
        """Record what reaches the model's output."""
        self.ledger.finish([state for state in self.states(output) if not state.parameters])


def _has_plain_memory(tensor: Tensor) -> bool:
    """Whether a tensor's entries are where its address says (not so for sparse or nested ones)."""
    plain = type(tensor) in (Tensor, torch.nn.Parameter) and tensor.layout == torch.strided
    return plain and not tensor.is_nested and tensor.numel() > 0
