"""Following each weight layer's output through a forward pass until an activation consumes it.

Under `FollowMode` every tensor carries a `State`. A weight operation (one that multiplies with a
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

from initsearch.layers._activations import (
    GATED,
    OUTPUT_FUNCTIONS,
    SELF_GATED,
    activation_function,
    activation_name,
    operation_name,
)
from initsearch.layers._record import NONE, LayerCall, Observer, Use
from initsearch.layers._state import Gate, State, fresh_root, merged
from initsearch.layers._tensors import tensors

# Where the weight stands among the arguments.
_PLACED = {
    "linear": 1,
    "bilinear": 2,
    "embedding": 1,
    "embedding_bag": 1,
    **{f"conv{way}{rank}d": 1 for way in ("", "_transpose") for rank in (1, 2, 3)},
}
_PRODUCTS = frozenset(
    {"matmul", "mm", "bmm", "mv", "addmm", "addbmm", "baddbmm", "einsum", "tensordot", "inner"}
)
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
_ATTENTION = "attention"


class FollowMode(TorchFunctionMode):
    """Records the weight layers of what runs under it, and what consumes their outputs.

    Attributes:
        calls: The calls so far.
        first_use: The step at which each parameter was first used.
        step: How many operations have been seen.
        module_name: The module that is running, kept by `ModuleHooks`.
    """

    def __init__(self, observer: Observer | None = None) -> None:
        super().__init__()
        self.calls: list[LayerCall] = []
        self.first_use: dict[str, int] = {}
        self.step = 0
        self.module_name = ""
        self._observer = observer or Observer()
        self._states: WeakIdKeyDictionary = WeakIdKeyDictionary()
        self._matrices: dict[str, int] = {}
        self._resting = 0

    def know_parameter(self, tensor: Tensor, name: str) -> None:
        """Let a tensor stand for the parameter `name`."""
        held = self.state(tensor)
        names = frozenset({name}) | (held.parameters if held else frozenset())
        self._states[tensor] = State(parameters=names, root=fresh_root())
        if tensor.ndim > 1:
            self._matrices.setdefault(name, len(self._matrices))

    def know_input(self, tensor: Tensor) -> None:
        """Let a tensor be known as the model's input."""
        if self.state(tensor) is None:
            self._states[tensor] = State(from_input=True, root=fresh_root())

    def state(self, tensor: Tensor) -> State | None:
        """What is known of a tensor; None for constants."""
        return self._states.get(tensor)  # type: ignore[no-any-return,no-untyped-call]

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
        states = [state for tensor in read if (state := self.state(tensor)) is not None]
        if not states:
            return func(*args, **kwargs)
        name = operation_name(func)
        activation = self._activation(name, args, kwargs, states)
        step = self._next()
        if activation:
            self._tell(self._observer.activating, states, activation, read[0])
        out = func(*args, **kwargs)
        written = [args[0]] if name == "setitem" else list(tensors(out))
        if not written or name.endswith("_like") or name.startswith("new_"):
            return out
        for state in states:
            for parameter in state.parameters:
                self.first_use.setdefault(parameter, step)
        if activation:
            function = activation_function(activation, func, args, kwargs)
            self.activate(activation, states, written, function, step)
            self._tell(self._observer.activated, states, activation, written[0])
        else:
            self._pass(name, args, kwargs, read, states, written)
        return out

    def _next(self) -> int:
        self.step += 1
        return self.step

    def _tell(
        self,
        told: Callable[[LayerCall, str, Tensor], None],
        states: Sequence[State],
        name: str,
        tensor: Tensor,
    ) -> None:
        for index in sorted(frozenset[int]().union(*(state.pending for state in states))):
            told(self.calls[index], name, tensor)

    def _activation(
        self,
        name: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        states: Sequence[State],
    ) -> str | None:
        found = activation_name(name, args, kwargs)
        if found == "softmax" and any(state.product for state in states):
            return _ATTENTION
        return found

    def activate(
        self,
        name: str,
        states: Sequence[State],
        written: Iterable[Tensor],
        function: Callable[[Tensor], Tensor] | None,
        step: int,
    ) -> None:
        """Record that an activation consumed what came of the pending layers."""
        came = merged(states)
        if came.parameters:
            self.mark(written, came)
            return
        gate = None
        if came.pending:
            use = Use(name, step, function)
            self._consume(came.pending, use)
            gate = Gate(use, name, came.pending)
        else:
            before = next((state.gate for state in states if state.gate), None)
            gate = before and replace(before, chain=f"{before.chain}>{name}")
        self.mark(
            written,
            State(
                tail=came.tail if name in OUTPUT_FUNCTIONS else frozenset(),
                sources=came.sources,
                from_input=came.from_input,
                attended=name == _ATTENTION,
                root=next((state.root for state in states if not state.parameters), -1),
                gate=gate,
            ),
        )

    def _pass(
        self,
        name: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        read: Sequence[Tensor],
        states: Sequence[State],
        written: Sequence[Tensor],
    ) -> None:
        if name == "multi_head_attention_forward":
            self._attention_layer(args, kwargs, written)
        elif name == "scaled_dot_product_attention":
            came = merged([s for t in read[:3] if (s := self.state(t)) is not None])
            self._consume(came.pending, Use(_ATTENTION, self.step))
            state = merged(states)
            self.mark(written, replace(state, pending=frozenset(), tail=frozenset()))
        elif weights := self._weights(name, args, kwargs, read):
            self._weight_layer(name, weights, read, written)
        elif name == "mul" and len(read) == 2 and len(states) == 2:
            self.mark(written, self._gated(read, states))
        elif name in _PRODUCTS and sum(not state.parameters for state in states) > 1:
            self.mark(written, self._multiplied(states))
        else:
            self.mark(written, merged(states, name))

    def _weights(
        self,
        name: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        read: Sequence[Tensor],
    ) -> list[Tensor]:
        """The tensors among the arguments that are weights of a layer."""
        made = [t for t in read if (state := self.state(t)) is not None and state.parameters]
        if not made:
            return []
        if name in _PLACED:
            place = _PLACED[name]
            weight = args[place] if len(args) > place else kwargs.get("weight")
            return [tensor for tensor in made if tensor is weight]
        if name in _RECURRENT:
            return made
        matrices = [tensor for tensor in made if tensor.ndim > 1]
        if name in _PRODUCTS and len(made) < len(read):
            return matrices
        return []

    def _weight_layer(
        self,
        name: str,
        weights: Sequence[Tensor],
        read: Sequence[Tensor],
        written: Sequence[Tensor],
    ) -> None:
        names: set[str] = set()
        inputs: list[State] = []
        for tensor in read:
            state = self.state(tensor)
            if state is None:
                continue
            if state.parameters and (tensor.ndim == 1 or any(tensor is w for w in weights)):
                names |= state.parameters
            else:
                inputs.append(state)
        call = self.start(name, names, inputs)
        if name in _RECURRENT:
            call.uses.append(Use(_RECURRENT[name], self.step))
            self.mark(written, self._after(call, pending=False))
        else:
            self.mark(written, self._after(call))
        if name in _PRODUCTS or name == "linear":
            weight = weights[0]
            # x @ W contracts its rows, W @ x and linear(x, W) its columns.
            columns = name == "linear" or read[0] is weight
            fans = tuple(float(size) for size in weight.shape[-2:])
            call.fans = (fans[1], fans[0]) if columns else (fans[0], fans[1])
        self.produced(call, written[0])

    def start(self, operation: str, names: Iterable[str], inputs: Sequence[State]) -> LayerCall:
        """Record a call of a layer that reads `inputs`."""
        came = merged(inputs) if inputs else State()
        self._consume(came.pending, Use(NONE, self.step))
        used = sorted(names, key=lambda name: self._matrices.get(name, len(self._matrices)))
        call = LayerCall(
            index=len(self.calls),
            operation=operation,
            parameters=tuple(used),
            weight=used[0],
            module_name=self.module_name,
            repeat=sum(call.weight == used[0] for call in self.calls),
            sources=came.sources,
            reads_input=came.from_input,
        )
        self.calls.append(call)
        return call

    def _after(self, call: LayerCall, pending: bool = True) -> State:
        here = frozenset({call.index})
        waiting = here if pending else frozenset()
        return State(waiting, waiting, here, from_input=call.reads_input, root=fresh_root())

    def produced(self, call: LayerCall, output: Tensor) -> None:
        """Tell the observer of a layer's output."""
        self._observer.produced(call, output)

    def mark_output(self, call: LayerCall, written: Iterable[Tensor]) -> None:
        """Let tensors be known as the output of a call."""
        self.mark(written, self._after(call))

    def _attention_layer(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], written: Sequence[Tensor]
    ) -> None:
        """torch's attention in one operation: its packed projection, and its output projection."""
        given = inspect.signature(F.multi_head_attention_forward).bind(*args, **kwargs).arguments
        inputs, names, last = [], set[str](), set[str]()
        for key, value in given.items():
            state = self.state(value) if isinstance(value, Tensor) else None
            if state is None:
                continue
            if key in ("query", "key", "value") or not state.parameters:
                inputs.append(state)
            elif key.startswith("out_proj"):
                last |= state.parameters
            else:
                names |= state.parameters
        if names:
            call = self.start("attention", names, inputs)
            call.uses.append(Use(_ATTENTION, self.step))
            inputs = [self._after(call, pending=False)]
        if last:
            call = self.start("linear", last, inputs)
            self.mark(written, self._after(call))
            self.produced(call, written[0])
        else:
            self.mark(written, merged(inputs))

    def _multiplied(self, states: Sequence[State]) -> State:
        """Two activations multiplied as matrices: scores, or values under the scores' softmax."""
        state = merged(states)
        if not state.attended:
            return replace(state, product=True)
        values = frozenset[int]().union(*(each.pending for each in states if not each.attended))
        self._consume(values, Use(_ATTENTION, self.step))
        return replace(
            state, pending=state.pending - values, tail=frozenset(), attended=False, product=False
        )

    def _gated(self, read: Sequence[Tensor], states: Sequence[State]) -> State:
        """x * f(x), f(a) * b, or a plain product."""
        state = merged(states, "mul")
        for here, there in ((0, 1), (1, 0)):
            gate, other = states[here].gate, states[there]
            if gate is None or not other.pending:
                continue
            if states[here].root == other.root:
                gate.use.name = SELF_GATED.get(gate.chain, gate.use.name)
                gate.use.function = None
                left = state.pending - gate.calls
                renamed = replace(gate, chain=gate.use.name)
                return replace(state, pending=left, tail=left, gate=renamed, root=other.root)
            parallel = not other.pending & self._before(gate.calls)
            if parallel and read[here].shape == read[there].shape:
                gate.use.name = GATED.get(gate.chain, f"{gate.use.name}_glu")
                gate.use.function = None
                self._consume(other.pending - gate.calls, gate.use)
                left = state.pending - other.pending
                return replace(state, pending=left, tail=left)
        return state

    def _before(self, calls: Iterable[int]) -> frozenset[int]:
        """The layers from which these layers' inputs come."""
        found: set[int] = set()
        waiting = [source for call in calls for source in self.calls[call].sources]
        while waiting:
            call = waiting.pop()
            if call not in found:
                found.add(call)
                waiting.extend(self.calls[call].sources)
        return frozenset(found)

    def _consume(self, calls: Iterable[int], use: Use) -> None:
        for call in calls:
            self.calls[call].uses.append(use)

    def mark(self, written: Iterable[Tensor], state: State) -> None:
        for tensor in written:
            known = self.state(tensor)
            self._states[tensor] = state
            if known is not None:
                self._mark_views(tensor, state)

    def _mark_views(self, tensor: Tensor, state: State) -> None:
        """After an operation in place: other tensors on all of the same memory changed with it."""
        if tensor.layout != torch.strided or not tensor.numel():
            return
        start, size = tensor.data_ptr(), tensor.numel()
        for other in list(self._states.keys()):  # type: ignore[no-untyped-call]
            if other is tensor or other.layout != torch.strided or other.numel() != size:
                continue
            if other.data_ptr() == start:
                self._states[other] = state

    def finish(self, output: Any) -> None:
        """Record what reaches the model's output."""
        step = self._next()
        for tensor in tensors(output):
            state = self.state(tensor)
            if state is None or state.parameters:
                continue
            self._consume(state.pending, Use(NONE, step))
            if state.tail:
                self.calls[max(state.tail)].is_output = True
