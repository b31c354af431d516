"""What a forward pass computes from parameters alone, and whether it makes weights or uses them.

A product of two parameters is a weight in two factors (`x @ (A @ B)`), or a layer on data that the model has
learned (`latents @ W`). The second is the case if

- the name of one of them says that it is data (`latents`, `queries`, `pos_embed`);
- the result is added to data, stacked with it, or fed to another layer;
- the result is multiplied with what another layer has just given, as queries are with keys, and the product is
  not of low rank. A product with a constant counts as one that is not.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from initsearch.layers.model.tables import holds_data
from initsearch.layers.trace.lineage import Draft, Lineage, fresh_root
from initsearch.layers.trace.paths import Path, Step
from initsearch.layers.trace.products import PRODUCTS, Product, product_of
from initsearch.layers.trace.recorder import Recorder
from initsearch.layers.trace.weights import layouts_in

# The place of the weight among the arguments of layers, where a low-rank product may stand.
_LAYERS = {"linear": 1, **{f"conv{way}{n}d": 1 for way in ("", "_transpose") for n in (1, 2, 3)}}


class Derivation:
    """Follows what is computed from parameters alone, for a `Recorder`."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def made(
        self,
        name: str,
        function: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        read: Sequence[Tensor],
        written: Sequence[Tensor],
    ) -> None:
        """An operation made tensors from parameters alone, or multiplied a weight with data."""
        lineages = self._recorder.lineages
        known = [(tensor, each) for tensor in read if (each := lineages.get(tensor)) is not None]
        if any(each is tensor for each in written for tensor, _ in known):
            return  # in place: what was there cannot be made again
        alone = all(each.parameters for _, each in known)
        product = product_of(name, args, kwargs) if name in PRODUCTS else None
        with_data = product is not None and not alone
        draft = next((each.draft for _, each in known if each.draft), None)
        if product is not None and alone:
            draft = self._draft(name, product, known)
        found = {
            parameter
            for _, lineage in known
            for parameter, path in lineage.paths.items()
            if alone or not (_is_vector(path.parameter) or (with_data and path.known))
        }
        if not (alone or found):
            return
        for number, tensor in enumerate(written):
            mine = lineages.get(tensor)
            if mine is None or (alone and not mine.parameters):
                continue
            paths: dict[str, Path] = {}
            for parameter in sorted(found, key=self._recorder.weight_first):
                inputs = tuple((t, of.paths[parameter]) for t, of in known if parameter in of.paths)
                others = tuple(t for t, of in known if parameter not in of.paths)
                step = Step(
                    name,
                    function,
                    args,
                    kwargs,
                    number,
                    tensor.shape,
                    product,
                    inputs,
                    others,
                    with_data,
                )
                paths[parameter] = Path(inputs[0][1].parameter, step, inputs[0][1].known)
            lineages.put(tensor, replace(mine, paths=paths, draft=draft if alone else None))

    def _draft(
        self, name: str, product: Product, known: Sequence[tuple[Tensor, Lineage]]
    ) -> Draft | None:
        factors = [pair for pair in known if any(pair[0] is o.tensor for o in product.operands)]
        single = [
            (tensor, next(iter(lineage.paths.items())))
            for tensor, lineage in factors
            if len(lineage.paths) == 1
        ]
        if not single or len(single) < len(factors):
            return None
        weights = [pair for pair in single if not holds_data(pair[1][0], pair[1][1].parameter)]
        if not weights:
            return None
        tensor, (parameter, path) = weights[-1]
        if tensor.ndim < 2:
            return None
        module = self._recorder.module_name
        factored = len(factors) == 2 and _low_rank(product)
        return Draft(
            name, product, tensor, path, parameter, module, len(weights) < len(single), factored
        )

    def settle(
        self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], read: Sequence[Tensor]
    ) -> bool:
        """Before an operation: make layers of those products in it that use a weight.

        Returns:
            Whether the lineage of a tensor has changed.
        """
        lineages = self._recorder.lineages
        drafts = [
            (tensor, each, each.draft)
            for tensor in read
            if (each := lineages.get(tensor)) is not None and each.draft is not None
        ]
        if not drafts:
            return False
        known = lineages.of(read)
        data = [each for each in known if not each.parameters]
        changed = False
        for tensor, _, draft in drafts:
            if self._uses(name, args, kwargs, tensor, draft, data, len(known)):
                lineages.put(tensor, replace(self._settled(draft), root=fresh_root()))
                changed = True
        return changed

    def _uses(
        self,
        name: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        tensor: Tensor,
        draft: Draft,
        data: Sequence[Lineage],
        parts: int,
    ) -> bool:
        """Whether a draft has used a weight, by what is done with its result."""
        if draft.settled is not None:
            return True
        if name in _LAYERS:
            place = _LAYERS[name]
            return tensor is not (args[place] if len(args) > place else kwargs.get("weight"))
        if not data:
            # A second product in a row on data, such as values on attention.
            return draft.on_data and name in PRODUCTS and parts > 1
        if draft.on_data or name not in PRODUCTS:
            return True
        return any(each.pending for each in data) and not draft.low_rank

    def _settled(self, draft: Draft) -> Lineage:
        """The lineage of a draft's result as the output of a layer."""
        if draft.settled is None:
            recorder = self._recorder
            paths = {draft.name: draft.path}
            layouts = layouts_in(draft.operation, (), {}, draft.weight, paths, draft.product)
            inside, recorder.module_name = recorder.module_name, draft.module_name
            draft.settled = recorder.layer(draft.operation, {draft.name}, (), layouts=layouts)
            recorder.module_name = inside
        return draft.settled


def _is_vector(parameter: Tensor) -> bool:
    return parameter.numel() == max(parameter.shape, default=1)


def _low_rank(product: Product) -> bool:
    """Whether a product of two has fewer entries between its factors than on either side."""
    sizes = [dict(zip(o.labels, o.tensor.shape, strict=True)) for o in product.operands]
    summed = [label for label in sizes[0] if label not in product.result]
    inner = math.prod(sizes[0][label] for label in summed)
    outer = (
        math.prod(size for label, size in each.items() if label not in summed) for each in sizes
    )
    return inner < min(outer)
