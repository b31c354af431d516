"""Variances that borrow from other pairs, so that clear cases need fewer blocks.

With three to six blocks, a t-test has so few degrees of freedom that even a clear lead is hardly significant.
A moderated t-test adds those of a prior variance (Smyth, Linear models and empirical Bayes methods,
Statistical Applications in Genetics and Molecular Biology 3, 2004). Smyth estimates it from all pairs, as a
mean. But initializations may vary very differently, and two variable ones at the top would then win by luck:
in 8 to 13 % of simulated races. So the prior is the largest variance of a pair. A lead counts if the plain or
the moderated test shows it.
"""

from dataclasses import replace

import numpy as np

from initsearch.race.pairs import Pairs
from initsearch.race.rules import EARLY

#: Degrees of freedom of the prior by candidate beyond two, and at most.
BY_CANDIDATE = 2.0
MOST = 4.0


def moderated(table: Pairs) -> Pairs:
    """The same comparisons, where pairs with few blocks borrow from those that were trained as long.

    A stopped candidate keeps the prior of the look that stopped it.

    Args:
        table: The comparisons at a look.
    """
    prior, prior_freedom = np.zeros_like(table.gap), np.zeros_like(table.gap)
    for blocks in EARLY:
        pairs = table.blocks == blocks
        if not pairs.any():
            continue
        differences = table.differences[..., :blocks]
        running = np.isfinite(differences).all(axis=-1) & (table.blocks >= blocks)
        variance = np.where(running[..., None], differences, 0.0).var(axis=-1, ddof=1)
        variance = np.where(pairs, table.spread**2, variance)
        count = np.diagonal(running, axis1=-2, axis2=-1).sum(axis=-1)
        freedom = np.clip(BY_CANDIDATE * (count - 2.0), 0.0, MOST)
        prior = np.where(pairs, variance.max(axis=(-2, -1), keepdims=True), prior)
        prior_freedom = np.where(pairs, freedom[..., None, None], prior_freedom)
    return replace(table, prior=prior, prior_freedom=prior_freedom)
