"""Dataclasses as plain JSON data and back: JSON has neither NaN nor keys other than strings."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_type_hints


def with_nan(kind: Any, plain: Any) -> Any:
    """The plain data with NaN for None wherever `kind` declares a float: JSON has no NaN."""
    if plain is None:
        return math.nan if kind is float else None
    if type(None) in get_args(kind):
        (kind,) = (given for given in get_args(kind) if given is not type(None))
    if isinstance(plain, Mapping) and is_dataclass(kind):
        hints = get_type_hints(kind)
        return {key: with_nan(hints.get(key), value) for key, value in plain.items()}
    entry = next((a for a in reversed(get_args(kind)) if a not in (Ellipsis, type(None))), None)
    if isinstance(plain, Mapping):
        return {key: with_nan(entry, value) for key, value in plain.items()}
    if isinstance(plain, list):
        return [with_nan(entry, value) for value in plain]
    return plain


def to_plain(value: Any) -> Any:
    """The value as JSON data: NaN and infinity as None, string keys, lists."""
    if is_dataclass(value):
        return {f.name: to_plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {_key(key): to_plain(entry) for key, entry in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [to_plain(entry) for entry in value]
    if hasattr(value, "tolist"):  # a NumPy scalar or array, or a tensor
        return to_plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _key(key: Any) -> str:
    """A mapping's key as JSON has it: an epoch of 1.0 is "1"."""
    return repr(key).removesuffix(".0") if isinstance(key, float) else str(key)
