"""What is known of a tensor on its way through a model, and how operations join it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import count

from initsearch.layers.trace.record import Use

# NamedParameter by entry, so that what comes out is still "x" in x * f(x).
_ARITHMETIC = frozenset({"add", "sub", "rsub", "mul", "div", "neg", "pow", "square", "clone"})
_ROOTS = count()


@dataclass(frozen=True)
class Gate:
    """An activation's result, as long as only arithmetic with constants follows.

    Attributes:
        use: What the activation was recorded as; renamed when it turns out to be part of a gate.
        chain: The activation, or several joined by > where one was applied to another's result.
        calls: The layers that it consumed.
    """

    use: Use
    chain: str
    calls: frozenset[int]


@dataclass(frozen=True)
class Lineage:
    """What is known of a tensor.

    Attributes:
        pending: Layers of which no activation has been seen on the way here.
        tail: Layers whose output this is, as it is or through an output function.
        sources: The nearest layers on the way here, activated or not.
        parameters: The parameters of which it is made, if of nothing else.
        from_input: Whether it depends on the model's input.
        product: Whether it comes of two activations multiplied as matrices (attention scores).
        attended: Whether it is such a product after its softmax.
        norm: The parameters of the norm that it passed last, if no weight layer came after it.
        root: Identifies the value from which only arithmetic led here.
        gate: See `Gate`.
    """

    pending: frozenset[int] = frozenset()
    tail: frozenset[int] = frozenset()
    sources: frozenset[int] = frozenset()
    parameters: frozenset[str] = frozenset()
    from_input: bool = False
    product: bool = False
    attended: bool = False
    norm: frozenset[str] = frozenset()
    root: int = -1
    gate: Gate | None = None


def fresh_root() -> int:
    """A new value for `Lineage.root`."""
    return next(_ROOTS)


def merged(states: Sequence[Lineage], operation: str = "") -> Lineage:
    """What an operation that is neither a layer nor an activation makes of its inputs.

    Parameters that meet data leave no mark of their own: a gain, a shift, a position's embedding.
    """
    data = [state for state in states if not state.parameters]
    if not data:
        names = frozenset[str]().union(*(state.parameters for state in states))
        return Lineage(parameters=names, root=fresh_root())
    norm = data[0].norm
    for state in data[1:]:
        # A product is zero where one of its factors is, other joins where all of their parts are.
        norm = norm | state.norm if operation == "mul" else norm & state.norm
    arithmetic = operation in _ARITHMETIC and len({state.root for state in data}) == 1
    return Lineage(
        pending=frozenset[int]().union(*(state.pending for state in data)),
        tail=frozenset[int]().union(*(state.tail for state in data)),
        sources=frozenset[int]().union(*(state.sources for state in data)),
        from_input=any(state.from_input for state in data),
        product=any(state.product for state in data),
        attended=any(state.attended for state in data),
        norm=norm,
        root=data[0].root if arithmetic else fresh_root(),
        gate=data[0].gate if arithmetic and len(data) == 1 else None,
    )


def normed(states: Sequence[Lineage], parameters: Iterable[str]) -> Lineage:
    """What a norm makes of its inputs."""
    return replace(merged(states), norm=frozenset(parameters))
