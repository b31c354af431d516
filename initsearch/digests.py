"""Short digests (BLAKE2b): names and seeds that are functions of their text alone, on every machine."""

import hashlib
import json
from typing import Any


def hex_digest(text: str, size: int) -> str:
    """Hexadecimal digits that stand for a text: two for each of `size` bytes."""
    return hashlib.blake2b(text.encode(), digest_size=size).hexdigest()


def short_hash(parts: Any, size: int = 4) -> str:
    """Hexadecimal digits that stand for plain data, two for each byte; what JSON lacks goes by its `str`."""
    return hex_digest(json.dumps(parts, sort_keys=True, default=str), size)


def seed_of(text: str) -> int:
    """An unsigned 64-bit integer from a text: different texts give unrelated seeds."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
