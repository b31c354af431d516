"""Parameters that are data, by their names: positions, tokens, queries, and the like.

They may stand in a matrix product as a weight does, but an initializer of weights would destroy them.
"""

import re

from torch import Tensor

_WORDS = frozenset(
    """
    pos position positions positional posemb posembed relpos relative
    token tokens cls latent latents queries prototype prototypes centroid centroids codebook codebooks
    anchor anchors slot slots seed seeds inducing memory memories mem prompt prompts register registers
    table tables dt alog gamma gammas temperature
    """.split()  # noqa: SIM905 - easier to read than a list of strings
)
# Words that say so in a name that has only words of the second kind besides.
_SHORT = frozenset({"rel", "embed", "emb"})
_SIDES = frozenset(
    """
    height width depth time h w d t x y row col rows cols key value query k v q
    """.split()  # noqa: SIM905
)


def holds_data(name: str, tensor: Tensor | None = None) -> bool:
    """Whether a parameter of no known layer is data by its name, and no weight.

    Args:
        name: Its name, qualified or not.
        tensor: The parameter: a `query` that is square is a projection.
    """
    last = [part for part in name.split(".") if not part.isdigit()][-1:]
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", last[0]) if last else []
    lower = [word.lower() for word in words]
    if "weight" in lower or "weights" in lower or "kernel" in lower:
        return False
    if not _WORDS.isdisjoint(lower) or "".join(lower) == "alog":
        return True
    if len(lower) > 1 and not _SHORT.isdisjoint(lower) and set(lower) <= _SHORT | _SIDES:
        return True
    if lower in (["rel"], ["bias"]) or lower[-1:] == ["bias"]:
        return True
    return lower == ["query"] and (tensor is None or tensor.shape[-2:] != tensor.shape[-1:] * 2)
