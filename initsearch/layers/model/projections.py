"""Which rows of a fused projection are query, key and value, and which layers project one of them.

A fused projection is known by the name of its layer (`qkv`, `c_attn`, `query_key_value`, ...); how its rows are
ordered, by the module that owns the layer. Most have all queries, then all keys, then all values. GPT-NeoX,
BLOOM, Falcon and a few others have query, key and value of the first head, then those of the second one. With
grouped queries (fewer heads for keys and values), the numbers of heads give the sizes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

QUERY, KEY, VALUE = PROJECTIONS = ("query", "key", "value")

_FUSED = frozenset(
    """
    qkv qkv_proj to_qkv c_attn query_key_value Wqkv W_pack qkv_linear att_proj in_proj
    """.split()  # noqa: SIM905 - easier to read than a list of strings
)
# `in_proj` fuses something else in most models (Mamba's gate, for instance).
_ONLY_IN = {"in_proj": frozenset(["DisentangledSelfAttention"])}
_KEYS_AND_VALUES = frozenset(["kv", "to_kv"])
# Layers that stand beside each other; a fused one may have keys and values.
_APART = tuple(
    tuple(form.format(each) for each in letters)
    for form, letters in (
        *((form, "qkv") for form in ("{}", "{}_proj", "to_{}", "{}_lin", "{}_linear")),
        *(
            (form, "qkv")
            for form in ("w{}", "W{}", "W_{}", "w_{}", "linear_{}", "fc_{}", "proj_{}")
        ),
        *((form, PROJECTIONS) for form in ("{}", "{}_proj", "{}_layer")),
        ("{}", ("queries", "keys", "values")),
    )
)
_QUERY_BESIDE = {"q": "kv", "to_q": "to_kv", "q_attn": "c_attn"}
# Attributes of cross attention, whose fused layer has keys and values only.
_QUERIES_ELSEWHERE = ("is_cross_attention", "use_global")
# Owners whose rows are ordered by head, besides those that say so by an attribute.
_BY_HEAD = frozenset(["MiniMaxLightningAttention", "DisentangledSelfAttention"])
# CodeGen's rows were laid out for four devices, each with query, value and key.
_CODEGEN_DEVICES = 4


@dataclass(frozen=True)
class Blocks:
    """The order of the outputs of a fused projection.

    Attributes:
        repeats: How often the blocks follow each other: once, or once for each head.
        sizes: The label and the number of outputs of each block, in order.
    """

    repeats: int
    sizes: tuple[tuple[str, int], ...]

    @property
    def period(self) -> int:
        """The outputs of all blocks, once."""
        return sum(size for _, size in self.sizes)


def projected(owner: nn.Module | None, name: str) -> str:
    """What a layer projects, if that is one of query, key and value; empty otherwise.

    Args:
        owner: The module that holds the layer.
        name: The layer's name there.
    """
    held = owner._modules if owner is not None else {}
    for names in _APART:
        if name in names and all(each in held for each in names):
            return PROJECTIONS[names.index(name)]
    beside = _QUERY_BESIDE.get(name)
    return QUERY if beside is not None and beside in held else ""


def blocks_of(owner: nn.Module | None, name: str, inputs: int, outputs: int) -> Blocks | None:
    """The blocks of a fused projection; `None` for other layers, and if the order is not known.

    Args:
        owner: The module that holds the layer.
        name: The layer's name there.
        inputs: Its inputs.
        outputs: Its outputs.
    """
    if owner is None or name not in _FUSED | _KEYS_AND_VALUES:
        return None
    elsewhere = any(getattr(owner, flag, False) is True for flag in _QUERIES_ELSEWHERE)
    if name in _KEYS_AND_VALUES or (name in _FUSED and elsewhere and outputs == 2 * inputs):
        uneven = hasattr(owner, "dim_out_qk") or outputs % 2
        return None if uneven else Blocks(1, ((KEY, outputs // 2), (VALUE, outputs // 2)))
    if name not in _FUSED or type(owner).__name__ not in _ONLY_IN.get(
        name, (type(owner).__name__,)
    ):
        return None
    found = _blocks(owner, name, inputs, outputs)
    return found if found is not None and found.repeats * found.period == outputs else None


def _blocks(owner: nn.Module, name: str, inputs: int, outputs: int) -> Blocks | None:
    title = type(owner).__name__
    heads = heads_of(owner)
    shared = _number(owner, "num_key_value_heads", "num_kv_heads", "n_kv_heads", "kv_n_heads")
    if title.startswith("CodeGen"):
        return _repeated(_CODEGEN_DEVICES, (QUERY, VALUE, KEY), outputs)
    if title.startswith("Falcon"):
        return _falcon(owner, heads, shared, outputs)
    if title.startswith("GPTBigCode"):
        if not getattr(owner, "multi_query", False):
            return _repeated(heads, PROJECTIONS, outputs)
        return _grouped(inputs, outputs)
    if heads and (key := _number(owner, "key_dim")) and (value := _number(owner, "val_dim")):
        return Blocks(heads, ((QUERY, key), (KEY, key), (VALUE, value)))
    by_head = name == "query_key_value" or title in _BY_HEAD or getattr(owner, "head_first", False)
    if by_head:
        return _repeated(heads, PROJECTIONS, outputs)
    if heads and shared and shared < heads:
        width, rest = divmod(outputs, heads + 2 * shared)
        return None if rest else _joined(heads * width, shared * width)
    if outputs % 3:
        return _grouped(inputs, outputs)
    return _repeated(1, PROJECTIONS, outputs)


def heads_of(owner: nn.Module | None) -> int:
    """The number of heads that an attention module says it has; 0 if it says none."""
    return _number(owner, "num_attention_heads", "num_heads", "n_heads", "n_head", "heads")


def _falcon(owner: nn.Module, heads: int, shared: int, outputs: int) -> Blocks | None:
    if getattr(owner, "new_decoder_architecture", False) and heads and shared:
        width = outputs // (heads + 2 * shared)
        return Blocks(shared, ((QUERY, heads // shared * width), (KEY, width), (VALUE, width)))
    if getattr(owner, "multi_query", False) and heads:
        width = outputs // (heads + 2)
        return _joined(heads * width, width)
    return _repeated(heads, PROJECTIONS, outputs)


def _repeated(repeats: int, labels: Sequence[str], outputs: int) -> Blocks | None:
    """Blocks of equal size, `repeats` times."""
    if not repeats or outputs % (repeats * len(labels)):
        return None
    size = outputs // (repeats * len(labels))
    return Blocks(repeats, tuple((label, size) for label in labels))


def _grouped(inputs: int, outputs: int) -> Blocks | None:
    """As many queries as inputs, and the rest for keys and values."""
    rest = outputs - inputs
    return _joined(inputs, rest // 2) if rest > 0 and rest % 2 == 0 else None


def _joined(queries: int, others: int) -> Blocks:
    return Blocks(1, ((QUERY, queries), (KEY, others), (VALUE, others)))


def _number(owner: Any, *names: str) -> int:
    """The first of some whole numbers that a module or its `config` has; 0 if it has none."""
    for holder in (owner, getattr(owner, "config", None)):
        for name in names:
            if type(found := getattr(holder, name, None)) is int:
                return found
    return 0
