"""The result of tracing: the calls of weight layers and what consumes their outputs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import takewhile

from torch import Tensor

from initsearch.layers.trace.layouts import Layout

#: The use of a layer's output that only another weight layer or the model's output reads.
NONE = "none"
#: The use of queries, keys and values.
ATTENTION = "attention"


@dataclass(eq=False)
class Use:
    """One consumer of a layer's output: an activation, or `none` for a weight layer or the output.

    Attributes:
        name: The activation's name.
        step: When it happened, as the number of the model's operation.
        function: The activation as a function of one tensor, if it is elementwise and known.
    """

    name: str
    step: int
    function: Callable[[Tensor], Tensor] | None = None


@dataclass(eq=False)
class LayerCall:
    """One call of a weight layer.

    Attributes:
        index: Its number among all calls.
        operation: What ran (`linear`, `conv2d`, `lstm`, `embedding`, ...).
        parameters: The slots that it used, by name.
        weight: The slot of its weight: the first of `parameters` that has two dimensions.
        module_name: The module in which it ran; empty for the model itself.
        repeat: The number of earlier calls with this weight: 0 for the first.
        sources: The nearest weight layers before it, by index; empty if it reads the raw input.
        reads_input: Whether what it reads depends on the model's input.
        uses: What consumes its output, in execution order.
        is_output: Whether its output is the model's, directly or through an output function.
        layouts: How it reads its weights, by slot name; see `initsearch.layers.trace.layouts`.
        biases: Those of `parameters` that are added to its output.
    """

    index: int
    operation: str
    parameters: tuple[str, ...]
    weight: str
    module_name: str
    repeat: int
    sources: frozenset[int]
    reads_input: bool
    uses: list[Use] = field(default_factory=list)
    is_output: bool = False
    layouts: Mapping[str, Layout] = field(default_factory=dict)
    biases: tuple[str, ...] = ()

    @property
    def activation(self) -> str | None:
        """The activation that follows; see `following`."""
        use = following(self.uses)
        return None if use is None else use.name


@dataclass(frozen=True)
class Side:
    """One of the two tensors that an addition joins.

    Attributes:
        sources: The nearest weight layers on the way here, by index.
        from_input: Whether it depends on the model's input.
        norm: The parameters of the last norm before it, if no weight layer came after that norm.
    """

    sources: frozenset[int]
    from_input: bool
    norm: frozenset[str]


@dataclass(frozen=True)
class Trace:
    """What was seen in a forward pass.

    Attributes:
        calls: The calls of weight layers, in execution order.
        first_use: The step at which each parameter was first used, by slot name.
        combined: The operations in which each parameter met data, by slot name, apart from layers.
        joins: The additions of two tensors that both depend on layers or the input, in order.
    """

    calls: tuple[LayerCall, ...]
    first_use: Mapping[str, int]
    joins: tuple[tuple[Side, Side], ...] = ()
    combined: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def joined(self, more: "Trace") -> "Trace":
        """This trace, and after it another one that shares no layer with it."""
        shift = len(self.calls)
        late = max(self.first_use.values(), default=0) + 1

        def moved(sources: frozenset[int]) -> frozenset[int]:
            return frozenset(source + shift for source in sources)

        calls = (
            replace(call, index=call.index + shift, sources=moved(call.sources))
            for call in more.calls
        )
        first, second = (
            [replace(sides[i], sources=moved(sides[i].sources)) for sides in more.joins]
            for i in (0, 1)
        )
        order = {name: late + step for name, step in more.first_use.items()}
        return Trace(
            (*self.calls, *calls),
            order | dict(self.first_use),
            (*self.joins, *zip(first, second, strict=True)),
            {**more.combined, **self.combined},
        )

    @property
    def numbered(self) -> list[LayerCall]:
        """The calls that stand at their index: those of another pass come after them, with its indices."""
        pairs = takewhile(lambda pair: pair[0] == pair[1].index, enumerate(self.calls))
        return [call for _, call in pairs]

    def of(self, name: str) -> list[LayerCall]:
        """The calls that used a parameter, in execution order."""
        return [call for call in self.calls if name in call.parameters]


class Observer:
    """Is notified during a trace; override the methods of interest.

    Operations inside these methods are not traced. The tensors are the model's own and must not be
    changed. A later in-place operation may overwrite them: compute what is needed at once.
    """

    def started(self) -> None:
        """A forward pass begins. If one ran before, it failed, and its notifications do not count."""

    def produced(self, call: LayerCall, output: Tensor) -> None:
        """A layer was called: `output` is the bare result, before norm and activation.

        Calls that return no tensor of their own, such as the packed projection of attention, are
        not reported.
        """

    def activating(self, call: LayerCall, name: str, tensor: Tensor) -> None:
        """An activation is about to consume `tensor`, the pre-activation, which comes from a layer."""

    def activated(self, call: LayerCall, name: str, tensor: Tensor) -> None:
        """An activation has consumed it: `tensor` is the result."""


def following(uses: list[Use]) -> Use | None:
    """The use that names a layer's activation: the first in execution order that is not `none`.

    A layer that feeds several activations takes the one that consumes it first. `none` is returned only
    if there is no activation, and `None` if there is no use at all.
    """
    ordered = sorted(uses, key=lambda use: use.step)
    return next((use for use in ordered if use.name != NONE), ordered[0] if ordered else None)
