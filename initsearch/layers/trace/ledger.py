"""The calls of weight layers as they happen, and how their outputs' marks are taken and joined."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from initsearch.layers.trace.activations import GATED, OUTPUT_FUNCTIONS, SELF_GATED
from initsearch.layers.trace.lineage import Gate, Lineage, fresh_root, merged
from initsearch.layers.trace.record import ATTENTION, NONE, LayerCall, Side, Use


class Ledger:
    """What a forward pass has shown so far.

    Attributes:
        calls: The calls of weight layers, in execution order.
        first_use: The step at which each parameter was first used.
        joins: The additions of two tensors, in execution order.
        step: How many operations have been seen.
        module_name: The module that is running.
    """

    def __init__(self) -> None:
        self.calls: list[LayerCall] = []
        self.first_use: dict[str, int] = {}
        self.joins: list[tuple[Side, Side]] = []
        self.step = 0
        self.module_name = ""
        self._rank: dict[str, int] = {}

    def know_parameter(self, name: str, dimensions: int) -> None:
        """Note a parameter.

        Of those that a layer uses, its weight is the matrix of that name, or else the first noted.
        """
        if dimensions > 1:
            self._rank.setdefault(name, len(self._rank))

    def next_step(self) -> int:
        """Count an operation."""
        self.step += 1
        return self.step

    def touch(self, names: Iterable[str]) -> None:
        """Note that parameters are being used."""
        for name in names:
            self.first_use.setdefault(name, self.step)

    def start(self, operation: str, names: Iterable[str], inputs: Sequence[Lineage]) -> LayerCall:
        """Record a call of a layer that reads `inputs`: they reach it without an activation."""
        came = merged(inputs) if inputs else Lineage()
        self.consume(came.pending, Use(NONE, self.step))
        used = sorted(names, key=self._weight_first)
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

    def _weight_first(self, name: str) -> tuple[bool, bool, int, str]:
        rank = self._rank.get(name)
        named = name.rpartition(".")[2] == "weight"
        return rank is None, not named, rank or 0, name

    def after(self, call: LayerCall, activation: str | None = None) -> Lineage:
        """The state of a call's output; with an activation if the layer brings its own."""
        here = frozenset({call.index})
        if activation is not None:
            call.uses.append(Use(activation, self.step))
        waiting = here if activation is None else frozenset[int]()
        return Lineage(waiting, waiting, here, from_input=call.reads_input, root=fresh_root())

    def consume(self, calls: Iterable[int], use: Use) -> None:
        """Record what consumes the outputs of calls."""
        for call in calls:
            self.calls[call].uses.append(use)

    def activate(
        self, name: str, states: Sequence[Lineage], function: Callable[[Tensor], Tensor] | None
    ) -> Lineage:
        """Record that an activation consumed what came of the pending layers."""
        came = merged(states)
        if came.parameters:
            return came
        gate = None
        if came.pending:
            use = Use(name, self.step, function)
            self.consume(came.pending, use)
            gate = Gate(use, name, came.pending)
        else:
            before = next((state.gate for state in states if state.gate), None)
            gate = before and replace(before, chain=f"{before.chain}>{name}")
        return Lineage(
            tail=came.tail if name in OUTPUT_FUNCTIONS else frozenset(),
            sources=came.sources,
            from_input=came.from_input,
            attended=name == ATTENTION,
            norm=came.norm,
            root=next(state.root for state in states if not state.parameters),
            gate=gate,
        )

    def join(self, states: Sequence[Lineage]) -> Lineage:
        """Record an addition, or a difference, of two tensors."""
        sides = [
            Side(state.sources, state.from_input, state.norm)
            for state in states
            if not state.parameters
        ]
        if len(sides) == 2:
            self.joins.append((sides[0], sides[1]))
        return merged(states, "add")

    def multiply(self, states: Sequence[Lineage]) -> Lineage:
        """Join activations multiplied as matrices: scores, or values under their softmax."""
        state = merged(states)
        if not state.attended:
            scores = sum(bool(each.sources) for each in states) > 1
            return replace(state, product=state.product or scores)
        values = frozenset[int]().union(*(each.pending for each in states if not each.attended))
        self.consume(values, Use(ATTENTION, self.step))
        left = state.pending - values
        return replace(state, pending=left, tail=left, attended=False, product=False)

    def gate(self, states: Sequence[Lineage], shapes: Sequence[torch.Size]) -> Lineage:
        """Join two tensors that are multiplied entry by entry: x * f(x), f(a) * b, or neither.

        f(a) * b is a gated unit if a and b have one shape and come of parallel layers or of parts
        of one; then all of them get the unit's name. If b comes before a (squeeze and excitation),
        or is stretched, f only scales it.
        """
        state = merged(states, "mul")
        for here, there in ((0, 1), (1, 0)):
            gate, other = states[here].gate, states[there]
            if gate is None or not other.pending:
                continue
            if states[here].root == other.root:
                name = SELF_GATED.get(gate.chain)
                if name is not None:
                    gate.use.name, gate.use.function = name, getattr(F, name, None)
                left = state.pending - gate.calls
                renamed = replace(gate, chain=gate.use.name)
                return replace(state, pending=left, tail=left, gate=renamed, root=other.root)
            parallel = not other.pending & self._before(gate.calls)
            if parallel and shapes[here] == shapes[there]:
                gate.use.name = GATED.get(gate.chain, f"{gate.use.name}_glu")
                gate.use.function = None
                self.consume(other.pending - gate.calls, gate.use)
                left = state.pending - other.pending
                return replace(state, pending=left, tail=left)
        return state

    def finish(self, outputs: Sequence[Lineage]) -> None:
        """Record what reaches the model's output.

        Heads are the layers there from which no other of them is reached: of a residual stream the
        last, of parallel branches or several outputs all, of an encoder and a decoder the latter's.
        If an activation that is no output function stands at every output (SqueezeNet's ReLU), they
        are the last layers before it; if no output is known, the last layer that ran.
        """
        step = self.next_step()
        came = merged(outputs) if outputs else Lineage()
        self.consume(came.pending, Use(NONE, step))
        last = came.tail or came.sources or frozenset(range(len(self.calls))[-1:])
        for head in last - self._before(last):
            self.calls[head].is_output = True

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
