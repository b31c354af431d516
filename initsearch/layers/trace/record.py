"""What a trace holds: the calls of weight layers and what consumes their outputs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

#: Says that only another weight layer or the model's output reads a layer's output.
NONE = "none"
#: Names what queries, keys and values go into.
ATTENTION = "attention"


@dataclass(eq=False)
class Use:
    """One consumer of a layer's output: an activation, or `none` for a weight layer or the output.

    Attributes:
        name: The activation's name.
        step: When it happened, counted in the model's operations.
        function: The activation as a function of one tensor, where it is elementwise and known.
    """

    name: str
    step: int
    function: Callable[[Tensor], Tensor] | None = None


@dataclass(eq=False)
class LayerCall:
    """One call of a weight layer.

    Attributes:
        index: Its place among all calls.
        operation: What ran (`linear`, `conv2d`, `lstm`, `embedding`, ...).
        parameters: The slots that it used, by name.
        weight: The slot of its weight: the first of `parameters` that has two dimensions.
        module_name: The module in which it ran; empty for the model itself.
        repeat: How many calls with this weight came before it: 0 for the first.
        sources: The nearest weight layers before it, by index: empty where it reads the raw input.
        reads_input: Whether what it reads comes from the model's input.
        uses: What consumes its output, in execution order.
        is_output: Whether its output is the model's, as it is or through an output function.
        fans: For a product with a bare parameter: fan_in and fan_out, as it is used.
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
    fans: tuple[float, float] | None = None

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
        norm: The parameters of the norm that it passed last, if no weight layer came after it.
    """

    sources: frozenset[int]
    from_input: bool
    norm: frozenset[str]


@dataclass(frozen=True)
class Trace:
    """What a forward pass showed.

    Attributes:
        calls: The calls of weight layers, in execution order.
        first_use: When each parameter was first used, by slot name.
        joins: The additions of two tensors that both come of layers or the input, in order.
    """

    calls: tuple[LayerCall, ...]
    first_use: Mapping[str, int]
    joins: tuple[tuple[Side, Side], ...] = ()

    def of(self, name: str) -> list[LayerCall]:
        """The calls that used a parameter, in execution order."""
        return [call for call in self.calls if name in call.parameters]


class Observer:
    """Watches a trace as it happens; override what is of interest.

    Operations inside these methods are not traced. Tensors are the model's own: look, and do not
    change them. A later in-place operation may overwrite them, so that what is wanted must be
    computed at once.
    """

    def started(self) -> None:
        """A forward pass begins; one before it failed, and what it told does not count."""

    def produced(self, call: LayerCall, output: Tensor) -> None:
        """A layer was called: `output` is the bare result, before norm and activation.

        Calls that return no tensor of their own, such as the packed projection of attention, are
        not told.
        """

    def activating(self, call: LayerCall, name: str, tensor: Tensor) -> None:
        """An activation is about to consume what came of a layer's output: the pre-activation."""

    def activated(self, call: LayerCall, name: str, tensor: Tensor) -> None:
        """That activation's result."""


def following(uses: list[Use]) -> Use | None:
    """The use that names a layer's activation: the first in execution order that is not `none`.

    A layer that feeds several activations takes the one that consumes it first. `none` holds only
    where there is nothing else; a layer without any use is not known.
    """
    ordered = sorted(uses, key=lambda use: use.step)
    return next((use for use in ordered if use.name != NONE), ordered[0] if ordered else None)
