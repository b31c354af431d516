"""Digests are those of BLAKE2b: a stored study and a seeded draw depend on every bit of them."""

import hashlib
import json

from initsearch.digests import hex_digest, seed_of, short_hash


def test_digests_are_blake2b() -> None:
    text = "0:features.0.weight é"
    assert hex_digest(text, 10) == hashlib.blake2b(text.encode(), digest_size=10).hexdigest()
    first = hashlib.blake2b(text.encode(), digest_size=8).digest()
    assert seed_of(text) == sum(byte << 8 * place for place, byte in enumerate(first))


def test_a_short_hash_depends_on_the_content_and_not_on_the_order_of_keys() -> None:
    parts = {"b": [1, 2.5], "a": None}
    text = json.dumps({"a": None, "b": [1, 2.5]})
    assert short_hash(parts) == hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
    assert short_hash(parts) != short_hash({**parts, "a": 0})
