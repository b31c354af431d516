"""What one forward pass has shown so far: layers, their consumers, and every tensor's lineage.

Operations and modules report here what has run. The recorder knows neither of them: it keeps the account and
notifies the observer.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from initsearch.layers.model.tables import holds_data
from initsearch.layers.trace.activations import GATED, OUTPUT_FUNCTIONS, SELF_GATED
from initsearch.layers.trace.layouts import Layout
from initsearch.layers.trace.lineage import Gate, Lineage, Lineages, fresh_root, merged
from initsearch.layers.trace.paths import Path
from initsearch.layers.trace.record import ATTENTION, NONE, LayerCall, Observer, Side, Trace, Use


class Recorder:
    """The record of one forward pass.

    Args:
        observer: Notified of layers and activations as they happen.

    Attributes:
        lineages: The lineage of each tensor so far.
        calls: The calls of weight layers, in execution order.
        step: How many operations have been counted.
        module_name: The name of the module that is running, as `ModuleHooks` sets it.
        paused: Whether operations are being ignored.
        fault: What the observer raised, if it did; any other error is the model's.
    """

    def __init__(self, observer: Observer | None = None) -> None:
        self.lineages = Lineages()
        self.calls: list[LayerCall] = []
        self.step = 0
        self.module_name = ""
        self.paused = False
        self.fault: Exception | None = None
        self._observer = observer or Observer()
        self._first_use: dict[str, int] = {}
        self._joins: list[tuple[Side, Side]] = []
        self._matrices: dict[str, int] = {}  # name -> its place in the order of registration
        self._repeats: dict[str, int] = {}
        self._combined: dict[str, set[str]] = {}

    def know_parameter(
        self, tensor: Tensor, name: str, followed: bool = True, known: bool = False
    ) -> None:
        """Let a tensor stand for the parameter `name`.

        Args:
            tensor: The tensor.
            name: The parameter's slot.
            followed: Whether its path shows what becomes of it (not so under a parametrization).
            known: Whether its layer is of a known kind.
        """
        paths = {name: Path(tensor, known=known)} if followed else {}
        self.lineages.put(
            tensor, Lineage(parameters=frozenset({name}), root=fresh_root(), paths=paths)
        )
        if tensor.ndim > 1:
            self._matrices.setdefault(name, len(self._matrices))

    def know_input(self, tensor: Tensor) -> None:
        """Let a tensor be the model's input."""
        if self.lineages.get(tensor) is None:
            self.lineages.put(tensor, Lineage(from_input=True, root=fresh_root()))

    def start(self) -> None:
        """A forward pass begins."""
        self._notify(self._observer.started)

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Run something whose operations are ignored."""
        before, self.paused = self.paused, True
        try:
            yield
        finally:
            self.paused = before

    def next_step(self) -> None:
        """Count an operation."""
        self.step += 1

    def use(self, parameters: Iterable[str]) -> None:
        """Parameters are used by the current operation."""
        for name in parameters:
            self._first_use.setdefault(name, self.step)

    def layer(
        self,
        operation: str,
        parameters: Iterable[str],
        inputs: Sequence[Lineage],
        outputs: Sequence[Tensor] = (),
        *,
        activation: str | None = None,
        layouts: Mapping[str, Layout] | None = None,
        biases: Iterable[str] = (),
    ) -> Lineage:
        """A weight layer was called. What it reads has reached it without an activation.

        Args:
            operation: What ran.
            parameters: What it used. Its weight is the first with a layout; else the first matrix called
                `weight`, or the first matrix.
            inputs: The lineages of what it read.
            outputs: Its results; empty if they are inside a larger operation.
            activation: The activation that the layer has inside, if any.
            layouts: See `LayerCall`.
            biases: Those of `parameters` that are added to its output.

        Returns:
            The lineage of its outputs.
        """
        came = merged(inputs) if inputs else Lineage()
        self._consume(came.pending, Use(NONE, self.step))
        read = layouts or {}
        used = sorted(parameters, key=lambda name: (name not in read, self.weight_first(name)))
        repeat = self._repeats.get(used[0], 0)
        self._repeats[used[0]] = repeat + 1
        call = LayerCall(
            index=len(self.calls),
            operation=operation,
            parameters=tuple(used),
            weight=used[0],
            module_name=self.module_name,
            repeat=repeat,
            sources=came.sources,
            reads_input=came.from_input,
            layouts=read,
            biases=tuple(biases),
        )
        self.calls.append(call)
        here = frozenset({call.index})
        pending = here
        if activation is not None:
            call.uses.append(Use(activation, self.step))
            pending = frozenset()
        lineage = Lineage(pending, pending, here, from_input=came.from_input, root=fresh_root())
        if outputs:
            self.lineages.write(outputs, lineage)
            self._notify(self._observer.produced, call, outputs[0])
        return lineage

    def mixed(self, made: Lineage) -> None:
        """A weight was made of data and parameters: the product that made it was no layer of its own."""
        for index in made.pending:
            call = self.calls[index]
            if call.weight in made.paths:
                call.layouts = {}

    def weight_first(self, name: str) -> tuple[bool, bool, int, str]:
        """A key that sorts the parameters of a layer: its weight first."""
        place = self._matrices.get(name)
        named = name.rpartition(".")[2] == "weight"
        return place is None, not named, place or 0, name

    def activating(self, name: str, inputs: Sequence[Lineage], tensor: Tensor) -> None:
        """An activation is about to consume `tensor`."""
        for index in sorted(merged(inputs).pending):
            self._notify(self._observer.activating, self.calls[index], name, tensor)

    def activation(
        self,
        name: str,
        inputs: Sequence[Lineage],
        outputs: Sequence[Tensor],
        function: Callable[[Tensor], Tensor] | None,
    ) -> None:
        """An activation consumed the outputs of the pending layers."""
        came = merged(inputs)
        self.lineages.write(outputs, self._activated(name, inputs, came, function))
        for index in sorted(came.pending):
            self._notify(self._observer.activated, self.calls[index], name, outputs[0])

    def _activated(
        self,
        name: str,
        inputs: Sequence[Lineage],
        came: Lineage,
        function: Callable[[Tensor], Tensor] | None,
    ) -> Lineage:
        if came.parameters:
            return came
        gate = None
        if came.pending:
            use = Use(name, self.step, function)
            self._consume(came.pending, use)
            gate = Gate(use, name, came.pending)
        else:
            before = next((lineage.gate for lineage in inputs if lineage.gate), None)
            gate = before and replace(before, chain=f"{before.chain}>{name}")
        return Lineage(
            tail=came.tail if name in OUTPUT_FUNCTIONS else frozenset(),
            sources=came.sources,
            from_input=came.from_input,
            attended=name == ATTENTION,
            norm=came.norm,
            root=next(lineage.root for lineage in inputs if not lineage.parameters),
            gate=gate,
        )

    def uses_since(self, step: int, calls: Iterable[int]) -> set[Use]:
        """The recorded uses of layers after a step."""
        return {use for call in calls for use in self.calls[call].uses if use.step > step}

    def forget(self, uses: set[Use], calls: Iterable[int]) -> None:
        """Remove uses from the record of layers: they turned out to be part of something larger."""
        for call in calls:
            kept = [use for use in self.calls[call].uses if use not in uses]
            self.calls[call].uses[:] = kept

    def attention(self, inputs: Sequence[Lineage]) -> Lineage:
        """Queries, keys and values went into attention, which is one operation."""
        came = merged(inputs)
        self._consume(came.pending, Use(ATTENTION, self.step))
        return replace(came, pending=frozenset(), tail=frozenset())

    def addition(self, inputs: Sequence[Lineage]) -> Lineage:
        """Tensors were added or subtracted."""
        sides = [
            Side(lineage.sources, lineage.from_input, lineage.norm)
            for lineage in inputs
            if not lineage.parameters
        ]
        if len(sides) == 2:
            self._joins.append((sides[0], sides[1]))
        return merged(inputs, "add")

    def matrix_product(self, inputs: Sequence[Lineage]) -> Lineage:
        """Activations were multiplied as matrices: attention's scores, or values with their softmax."""
        came = merged(inputs)
        if not came.attended:
            scores = sum(bool(each.sources) for each in inputs) > 1
            return replace(came, product=came.product or scores)
        values = frozenset[int]().union(*(each.pending for each in inputs if not each.attended))
        self._consume(values, Use(ATTENTION, self.step))
        left = came.pending - values
        return replace(came, pending=left, tail=left, attended=False, product=False)

    def product(self, inputs: Sequence[Lineage], shapes: Sequence[torch.Size]) -> Lineage:
        """Two tensors were multiplied entry by entry: x * f(x), f(a) * b, or neither.

        f(a) * b is a gated unit if a and b have the same shape and come from parallel layers or from
        parts of one layer. All of these layers then get the unit's name. If b comes before a (squeeze
        and excitation), or is broadcast, f only scales it.
        """
        came = merged(inputs, "mul")
        for here, there in ((0, 1), (1, 0)):
            gate, other = inputs[here].gate, inputs[there]
            if gate is None or not other.pending:
                continue
            if inputs[here].root == other.root:
                name = SELF_GATED.get(gate.chain)
                if name is not None:
                    gate.use.name, gate.use.function = name, getattr(F, name, None)
                left = came.pending - gate.calls
                renamed = replace(gate, chain=gate.use.name)
                return replace(came, pending=left, tail=left, gate=renamed, root=other.root)
            parallel = not other.pending & self._before(gate.calls)
            if parallel and shapes[here] == shapes[there]:
                gate.use.name = GATED.get(gate.chain, f"{gate.use.name}_glu")
                gate.use.function = None
                self._consume(other.pending - gate.calls, gate.use)
                left = came.pending - other.pending
                return replace(came, pending=left, tail=left)
        return came

    def finish(self, output: Any) -> Trace:
        """The model returned its output.

        Its heads are the layers there that no other layer there depends on: of a residual stream the
        last one, of parallel branches or several outputs all, of an encoder and a decoder the decoder's.
        If every output comes from an activation that is no output function (SqueezeNet's ReLU), the heads
        are the last layers before it. If no output is known, the head is the last layer that ran.
        """
        self.next_step()
        outputs = [each for each in self.lineages.of(output) if not each.parameters]
        came = merged(outputs) if outputs else Lineage()
        self._consume(came.pending, Use(NONE, self.step))
        last = came.tail or came.sources or frozenset(range(len(self.calls))[-1:])
        for head in last - self._before(last):
            self.calls[head].is_output = True
        combined = {name: frozenset(operations) for name, operations in self._combined.items()}
        return Trace(tuple(self.calls), dict(self._first_use), tuple(self._joins), combined)

    def bias(self, parameter: Tensor, name: str, came: Lineage) -> None:
        """A parameter was added to a tensor: it is a bias of the layer whose output that is, if of any.

        The layer is the last one whose weight the same module owns. A bias is a vector, or called a bias.
        """
        owner, _, last = name.rpartition(".")
        vector = parameter.numel() == max(parameter.shape, default=1)
        named = "bias" in last or re.fullmatch(r"b(\d+|_\w+)?", last)
        if not (vector or named) or holds_data(name.removesuffix("bias")):
            return
        for index in sorted(came.pending, reverse=True):
            call = self.calls[index]
            if call.weight.rpartition(".")[0] == owner:
                if name not in call.parameters:
                    call.parameters += (name,)
                    call.biases += (name,)
                return

    def combine(self, name: str, parameters: Iterable[str]) -> None:
        """Parameters met data in an operation that is no layer."""
        for each in parameters:
            self._combined.setdefault(each, set()).add(name)

    def _consume(self, calls: Iterable[int], use: Use) -> None:
        for call in calls:
            self.calls[call].uses.append(use)

    def _before(self, calls: Iterable[int]) -> frozenset[int]:
        """The layers that these layers depend on."""
        found: set[int] = set()
        waiting = [source for call in calls for source in self.calls[call].sources]
        while waiting:
            call = waiting.pop()
            if call not in found:
                found.add(call)
                waiting.extend(self.calls[call].sources)
        return frozenset(found)

    def _notify(self, method: Callable[..., None], *arguments: Any) -> None:
        try:
            method(*arguments)
        except Exception as error:
            self.fault = error
            raise
