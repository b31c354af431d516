"""How a tensor was made from a parameter, step by step, so that it can be made again from other values.

A model may use a parameter in another form than the one that it holds: `W.view(...)`, `W.transpose(0, 1)`,
`W[expert]`, `W * mask`, `A @ B`. A `Path` remembers the operations between. `entries` finds which entry of the
parameter stands where, `arriving` which scale arrives.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from initsearch.layers.model.tensors import mapped, tensors
from initsearch.layers.trace.products import Product

# Operations that only move, repeat or leave out entries.
_MOVES = frozenset(
    """
    view reshape flatten unflatten ravel view_as reshape_as squeeze unsqueeze permute transpose t adjoint
    T mT H mH swapaxes swapdims movedim moveaxis expand expand_as broadcast_to repeat tile repeat_interleave
    narrow select getitem chunk split tensor_split hsplit vsplit split_with_sizes unbind index_select
    stack cat concat concatenate flip roll rot90 diagonal unfold
    """.split()  # noqa: SIM905 - easier to read than a list of strings
)
#: Operations that leave every entry in its place, whatever they return.
COPIES = frozenset(
    """
    to float half double bfloat16 type type_as contiguous clone detach data requires_grad_ cpu cuda
    """.split()  # noqa: SIM905
)
#: Operations through which a weight may go that is multiplied with data (as in StyleGAN 2).
MODULATIONS = frozenset({"mul", "div"}) | _MOVES | COPIES
#: Operations that look entries up by a tensor of indices, or compute entries in between.
LOOKUPS = frozenset(
    """
    embedding embedding_bag index_select gather take take_along_dim interpolate grid_sample
    """.split()  # noqa: SIM905
)


@dataclass(frozen=True, eq=False)
class Step:
    """One operation on the way.

    Attributes:
        name: Its bare name.
        function: What was called.
        args: Its arguments.
        kwargs: Its arguments by name.
        number: Which of its results this is.
        shape: The result's shape.
        product: For a product: what it sums over.
        inputs: Those of its arguments that come from the parameter, with their own paths.
        others: Those that come from other parameters, or from data.
        with_data: Whether it is a product with data, as the mixture of experts' kernels in CondConv.
    """

    name: str
    function: Callable[..., Any]
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    number: int
    shape: torch.Size
    product: Product | None
    inputs: tuple[tuple[Tensor, "Path"], ...]
    others: tuple[Tensor, ...]
    with_data: bool = False

    @property
    def source(self) -> tuple[Tensor, "Path"]:
        """The argument whose entries the result has: one of the result's shape, else the first."""
        whole = (each for each in self.inputs if each[0].shape == self.shape)
        return next(whole, self.inputs[0])

    @property
    def keeps_places(self) -> bool:
        """Whether every entry of the result comes from the entry of the source in its place."""
        moves = self.name in _MOVES or self.product is not None or self.name in LOOKUPS
        return not moves and self.source[0].shape == self.shape

    def again(self, change: Callable[[Tensor], Tensor]) -> Tensor:
        """The result for changed arguments."""
        args, kwargs = mapped((tuple(self.args), dict(self.kwargs)), change)
        return tensors(self.function(*args, **kwargs))[self.number]


@dataclass(frozen=True, eq=False)
class Path:
    """How a tensor was made from one parameter.

    Attributes:
        parameter: The parameter as it is stored.
        step: The last operation; `None` for the parameter itself.
        known: Whether the parameter is that of a known layer, whose layout is known without a path.
    """

    parameter: Tensor
    step: Step | None = None
    known: bool = False

    @property
    def looks_up(self) -> bool:
        """Whether rows are looked up on the way, as in a table of positions (not whole matrices)."""
        step: Step | None = self.step
        while step is not None:
            lookup = step.name in LOOKUPS or (step.name == "getitem" and _by_tensor(step.args[1]))
            if lookup and step.source[0].ndim <= 2:
                return True
            step = step.source[1].step
        return False

    @property
    def is_factor(self) -> bool:
        """Whether a product with other parameters lies on the way."""
        step: Step | None = self.step
        while step is not None:
            if step.product is not None:
                return True
            step = step.source[1].step
        return False

    @property
    def is_mixed(self) -> bool:
        """Whether other parameters or data are added to it, or multiplied with it entry by entry."""
        step: Step | None = self.step
        while step is not None:
            if step.with_data or (step.others and step.product is None and step.name not in _MOVES):
                return True
            step = step.source[1].step
        return False

    @property
    def moves_only(self) -> bool:
        """Whether no entry is changed on the way."""
        return self.step is None or (
            self.step.name in _MOVES | COPIES and self.step.source[1].moves_only
        )


def _by_tensor(index: Any) -> bool:
    """Whether an index looks entries up: it has a tensor or list of numbers."""
    each = index if isinstance(index, tuple) else (index,)
    return any((isinstance(i, Tensor) and i.ndim > 0) or isinstance(i, list) for i in each)


def entries(path: Path, start: Step | None = None) -> Tensor | None:
    """Which entry of the parameter stands where: its number in row-major order, -1 for entries of others.

    Args:
        path: The tensor. No product may lie on its way.
        start: Count the entries of this step's result instead of the parameter's.

    Returns:
        Whole numbers of the tensor's shape; `None` if an operation is not known to leave entries whole.
    """
    step = path.step
    if step is None or step is start:
        shape = path.parameter.shape if step is None else step.shape
        return torch.arange(shape.numel()).view(shape)
    source, before = step.source
    numbers = entries(before, start)
    if numbers is None or step.product is not None:
        return None
    if step.name in COPIES:
        return numbers
    if step.name not in _MOVES | LOOKUPS:
        # An operation entry by entry, or one that normalizes; a smaller factor is broadcast.
        fits = len(numbers.shape) <= len(step.shape) and all(
            size in (1, whole)
            for size, whole in zip(reversed(numbers.shape), reversed(step.shape), strict=False)
        )
        return numbers.broadcast_to(step.shape).contiguous() if fits else None
    others = [*(tensor for tensor, _ in step.inputs if tensor is not source), *step.others]

    def change(tensor: Tensor) -> Tensor:
        if tensor is source:
            return numbers
        if any(tensor is other for other in others):
            return torch.full(tensor.shape, -1)
        return tensor

    return step.again(change)


def arriving(path: Path, values: Tensor) -> Tensor:
    """What the tensor would be if the parameter had other values."""
    made: dict[int, Tensor] = {}

    def value(of: Path) -> Tensor:
        if of.step is None:
            return values
        if id(of) not in made:
            known = [(tensor, value(before)) for tensor, before in of.step.inputs]

            def change(tensor: Tensor) -> Tensor:
                return next((new for old, new in known if old is tensor), tensor)

            made[id(of)] = of.step.again(change)
        return made[id(of)]

    return value(path)
