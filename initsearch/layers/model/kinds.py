"""What each kind of module makes of its parameters: categories, fans, parts, and the framework's default.

Fans are effective: a weight with variance 1/fan_in keeps the variance of zero-mean inputs with variance
one. Where this differs from the fans of the bare shape:

- Transposed convolution, weight (in, out/groups, *kernel): an output sums over in/groups channels
  and over prod(kernel)/prod(stride) taps on average, so fan_in = in/groups *
  prod(kernel)/prod(stride) and fan_out = out/groups * prod(kernel). torch and Keras read the shape
  the wrong way round (pytorch#7865).
- Grouped and depthwise convolution: fan_out = out/groups * prod(kernel); the bare shape gives
  `groups` times that (pytorch#23854). As in He et al. 2015 (arXiv:1502.01852, eq. 14), fan_out
  ignores the stride.
- Packed weights (LSTM and GRU gates, query, key and value, fused into one layer or not) have the fans of one
  part.
- Bilinear, weight (out, in1, in2): fan_in = in1 * in2, fan_out = out * in2 (towards its first
  input).
- Embedding: a lookup does not sum, so fans have no meaning. Both are the width, with which LeCun's
  rule gives the usual standard deviation width^-1/2.
- A norm's gain and shift, a PReLU's slope: elementwise, both fans are 1.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.modules.instancenorm import _InstanceNorm

from initsearch.initializers import Initializer, compute_fans, get_initializer
from initsearch.layers.model.projections import PROJECTIONS, Blocks, blocks_of, projected
from initsearch.layers.model.slots import ParameterPart, Strides
from initsearch.layers.model.tables import holds_data
from initsearch.layers.model.walk import Site

# In the order in which torch packs them.
_GATES = {
    "lstm": ("input_gate", "forget_gate", "cell_gate", "output_gate"),
    "gru": ("reset_gate", "update_gate", "new_gate"),
}
#: The names of parts of packed parameters.
PARTS = (*dict.fromkeys(gate for gates in _GATES.values() for gate in gates), *PROJECTIONS)
_GAINS = ("weight", "gamma", "scale", "g")
_SHIFTS = ("bias", "beta")


@dataclass(frozen=True)
class Nature:
    """What a parameter is in its module; fields as in `Slot`."""

    kind: str
    category: str
    fan_in: float
    fan_out: float
    parts: tuple[ParameterPart, ...]
    default: Initializer | None = None
    note: str = ""


def nature_of(site: Site) -> Nature:
    """What a parameter is in the module that owns it at `site`; it is found once for each site."""
    if site.nature is None:
        # The only field of a site that is filled later.
        object.__setattr__(site, "nature", _nature_of(site))
    found: Nature = site.nature
    return found


def _nature_of(site: Site) -> Nature:
    module, name, ancestors = site.stored.module, site.stored.attribute, site.ancestors
    value = site.stored.read()
    for family, kind_of in _KINDS:
        if isinstance(module, family):
            found = kind_of(module, name, value) or _unknown(module, name, value)
            # The distribution of a subclass that resets its parameters in its own way is not known.
            known = getattr(type(module), "reset_parameters", None)
            if known is not getattr(family, "reset_parameters", None):
                found = replace(found, default=None)
            break
    else:
        found = _unknown(module, name, value)
    if found.category in ("weight", "bias") and len(found.parts) == 1:
        found = _with_projections(site, found, value)
    if ancestors and isinstance(ancestors[-1], nn.MultiheadAttention) and name == "bias":
        found = replace(found, default=_constant(0.0))  # of its output projection
    if value.ndim > 1 and any(isinstance(ancestor, nn.Transformer) for ancestor in ancestors):
        # nn.Transformer draws all matrices inside it again.
        found = replace(found, default=_glorot_uniform(value.shape))
    return found


def _whole(
    kind: str,
    category: str,
    fan_in: float,
    fan_out: float,
    default: Initializer | None,
    note: str = "",
) -> Nature:
    return Nature(
        kind, category, fan_in, fan_out, (ParameterPart(None, fan_in, fan_out),), default, note
    )


def _rows(parts: int, size: int, fan_in: float, fan_out: float, labels: Sequence[str] = ()) -> Any:
    """Split a tensor into `parts` of `size` rows each."""
    return tuple(
        ParameterPart(
            (slice(i * size, (i + 1) * size),), fan_in, fan_out, labels[i] if labels else ""
        )
        for i in range(parts)
    )


@cache
def _constant(value: float) -> Initializer:
    return get_initializer({"name": "constant", "value": value})


@cache
def _uniform(fan_in: float) -> Initializer | None:
    """What torch draws by kaiming_uniform_(a=sqrt(5)), and for biases: U(+-1/sqrt(fan_in))."""
    if fan_in <= 0:
        return None
    return get_initializer({"name": "uniform", "limit": 1.0 / math.sqrt(fan_in)})


def _glorot_uniform(shape: Sequence[int]) -> Initializer | None:
    total = sum(compute_fans(shape))
    return get_initializer({"name": "uniform", "limit": math.sqrt(6.0 / total)}) if total else None


def _linear(module: Any, name: str, value: Tensor) -> Nature | None:
    if name not in ("weight", "bias"):
        return None
    fan_in, fan_out = float(module.in_features), float(module.out_features)
    return _whole("linear", name, fan_in, fan_out, _uniform(fan_in))


def _bilinear(module: Any, name: str, value: Tensor) -> Nature | None:
    if name not in ("weight", "bias"):
        return None
    first, second = float(module.in1_features), float(module.in2_features)
    out = float(module.out_features)
    return _whole("bilinear", name, first * second, out * second, _uniform(first))


def _conv(module: Any, name: str, value: Tensor) -> Nature | None:
    if name not in ("weight", "bias"):
        return None
    groups, taps = module.groups, math.prod(module.kernel_size)
    inputs, outputs = module.in_channels // groups, module.out_channels // groups
    transposed = isinstance(module, _ConvTransposeNd)
    fan_in, fan_out = float(inputs * taps), float(outputs * taps)
    # By torch's reading of the shape, which for a transposed weight is the wrong way round.
    drawn = _uniform(fan_out if transposed else fan_in)
    if transposed:
        fan_in /= math.prod(module.stride)
    kind = f"conv{'_transpose' if transposed else ''}{len(module.kernel_size)}d"
    if name == "bias":
        return _whole(kind, name, fan_in, fan_out, drawn)
    size = inputs if transposed else outputs
    parts = (
        _rows(groups, size, fan_in, fan_out)
        if groups > 1
        else (ParameterPart(None, fan_in, fan_out),)
    )
    if transposed:
        parts = tuple(replace(part, transposed=True) for part in parts)
    return Nature(kind, name, fan_in, fan_out, parts, drawn)


def _embedding(module: Any, name: str, value: Tensor) -> Nature | None:
    if name != "weight":
        return None
    width = float(module.embedding_dim)
    drawn = get_initializer({"name": "normal", "std": 1.0})
    padding = module.padding_idx
    note = "" if padding is None else f"row {padding} stays zero (padding)"
    return _whole("embedding", name, width, width, drawn, note)


def _recurrent(module: Any, name: str, value: Tensor) -> Nature | None:
    category, _, rest = name.partition("_")
    if category not in ("weight", "bias") or rest[:2] not in ("ih", "hh", "hr"):
        return None
    hidden = int(module.hidden_size)
    drawn = _uniform(hidden)
    if isinstance(module, nn.LSTM | nn.LSTMCell):
        kind = "lstm"
    elif isinstance(module, nn.GRU | nn.GRUCell):
        kind = "gru"
    else:
        kind = "rnn"
    fan_in = float(getattr(module, f"weight_{rest}").shape[1])
    if rest.startswith("hr"):
        return _whole(kind, category, fan_in, float(value.shape[0]), drawn)
    if kind == "rnn":
        return _whole(kind, category, fan_in, float(hidden), drawn)
    gates = _GATES[kind]
    parts = _rows(len(gates), hidden, fan_in, float(hidden), gates)
    return Nature(kind, category, fan_in, float(hidden), parts, drawn)


def _attention(module: Any, name: str, value: Tensor) -> Nature | None:
    width = int(module.embed_dim)
    fans = (float(width), float(width))
    if name == "in_proj_weight":
        parts = _rows(3, width, *fans, PROJECTIONS)
        return Nature("attention", "weight", *fans, parts, _glorot_uniform(value.shape))
    if name == "in_proj_bias":
        parts = _rows(3, width, *fans, PROJECTIONS)
        return Nature("attention", "bias", *fans, parts, _constant(0.0))
    if name in ("q_proj_weight", "k_proj_weight", "v_proj_weight"):
        fan_in = float(value.shape[1])
        parts = (ParameterPart(None, fan_in, fans[1], PROJECTIONS["qkv".index(name[0])]),)
        drawn = _glorot_uniform(value.shape)
        return Nature("attention", "weight", fan_in, fans[1], parts, drawn)
    if name in ("bias_k", "bias_v"):
        # xavier_normal_ of shape (1, 1, E).
        drawn = get_initializer({"name": "normal", "std": width**-0.5})
        return _whole("attention", "other", 1.0, 1.0, drawn)
    return None


def _with_projections(site: Site, found: Nature, value: Tensor) -> Nature:
    """A layer that projects to query, key or value, or to several of them, with its parts named."""
    owner = site.ancestors[-1] if site.ancestors else None
    layer = site.module_name.rpartition(".")[2]
    (part,) = found.parts
    if label := projected(owner, layer):
        return replace(found, parts=(replace(part, label=label),))
    axis = 1 if part.transposed and value.ndim > 1 else 0
    if part.index is not None or value.shape[axis:].numel() == 0:
        return found
    inputs = int(found.fan_in)
    blocks = blocks_of(owner, layer, inputs, value.shape[axis])
    if blocks is None:
        return found
    taps = int(found.fan_out) // value.shape[axis]
    parts = tuple(_blocks(blocks, part, value, axis, taps))
    return replace(found, fan_out=parts[0].fan_out, parts=parts)


def _blocks(
    blocks: Blocks, whole: ParameterPart, value: Tensor, axis: int, taps: int
) -> Iterator[ParameterPart]:
    """The part of each block, by its rows, or by steps if its rows are apart."""
    start = 0
    for label, size in blocks.sizes:
        part = replace(whole, label=label, fan_out=float(blocks.repeats * size * taps))
        if blocks.repeats == 1:
            rows = slice(start, start + size)
            yield replace(part, index=(slice(None), rows) if axis else (rows,))
        else:
            row = 1 if axis else value[0].numel()
            others = [(value.shape[0], value.shape[1])] if axis else []
            if not axis and value.ndim > 1:
                others = [(value[0].numel(), 1)]
            out = ((blocks.repeats, blocks.period * row), (size, row))
            yield replace(part, strides=Strides(start * row, out, tuple(others)), transposed=False)
        start += size


def _norm(kind: str) -> Callable[[Any, str, Tensor], Nature | None]:
    def norm(module: Any, name: str, value: Tensor) -> Nature | None:
        if name not in ("weight", "bias"):
            return None
        return _whole(kind, f"norm_{name}", 1.0, 1.0, _constant(1.0 if name == "weight" else 0.0))

    return norm


def _prelu(module: Any, name: str, value: Tensor) -> Nature | None:
    return _whole("prelu", "other", 1.0, 1.0, _constant(float(module.init)))


def _unknown(module: nn.Module, name: str, value: Tensor) -> Nature:
    """A parameter of a module of unknown kind, by its name and its shape."""
    title = type(module).__name__
    vector = sum(size > 1 for size in value.shape) <= 1
    if "norm" in title.lower() and vector and name in _GAINS + _SHIFTS:
        category = "norm_weight" if name in _GAINS else "norm_bias"
        return _whole("norm", category, 1.0, 1.0, None)
    if title == "Conv1D" and hasattr(module, "nf") and name in ("weight", "bias"):
        return _transposed_linear(module, name)
    matrix = value.ndim > 1 and not vector
    if matrix and (name == "weight" or name.endswith("_weight") or name.startswith("weight_")):
        fan_in, fan_out = compute_fans(value.shape)
        note = f"{title} is of no known kind: fans by the shape (out, in, *kernel)"
        return _whole("other", "weight", fan_in, fan_out, None, note)
    weight = getattr(module, "weight", None)
    if name == "bias" and isinstance(weight, Tensor) and weight.ndim > 1:
        return _whole("other", "bias", *compute_fans(weight.shape), None)
    if value.ndim == 1 and name.endswith("_bias") and not holds_data(name.removesuffix("_bias")):
        return _whole("other", "bias", 1.0, 1.0, None)
    fans = compute_fans(value.shape) if matrix else (1.0, 1.0)
    return _whole("other", "other", *fans, None)


def _transposed_linear(module: Any, name: str) -> Nature:
    """Hugging Face's Conv1D: a linear layer whose weight is (in, out), drawn from N(0, .02^2)."""
    fan_in, fan_out = (float(size) for size in module.weight.shape)
    if name == "bias":
        return _whole("linear", name, fan_in, fan_out, _constant(0.0))
    parts = (ParameterPart(None, fan_in, fan_out, transposed=True),)
    drawn = get_initializer({"name": "normal", "std": 0.02})
    return Nature("linear", name, fan_in, fan_out, parts, drawn)


# The first match counts; a subclass stands before its base.
_KINDS: tuple[tuple[type[nn.Module], Callable[[Any, str, Tensor], Nature | None]], ...] = (
    (nn.Linear, _linear),
    (nn.Bilinear, _bilinear),
    (_ConvNd, _conv),
    (nn.Embedding, _embedding),
    (nn.EmbeddingBag, _embedding),
    (nn.RNNBase, _recurrent),
    (nn.RNNCellBase, _recurrent),
    (nn.MultiheadAttention, _attention),
    (_InstanceNorm, _norm("instance_norm")),
    (_NormBase, _norm("batch_norm")),
    (nn.LayerNorm, _norm("layer_norm")),
    (nn.GroupNorm, _norm("group_norm")),
    (nn.RMSNorm, _norm("rms_norm")),
    (nn.PReLU, _prelu),
)
