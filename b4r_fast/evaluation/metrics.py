"""Hit rate, normalised discounted cumulative gain and mean reciprocal rank, for one relevant item a
user (BERT4Rec, section 4.2).

With rank r of that item: HR@k = [r <= k], NDCG@k = [r <= k] / log2(r + 1), MRR = 1 / r; means over
the users.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NEVER = np.iinfo(np.int64).max  # the rank of an item that is not recommended however long the list
HIT_RATE_AT = (1, 5, 10)
NDCG_AT = (5, 10)
RESAMPLES = 2000
AT_ONCE = 1 << 23  # counts of a resampling


def metrics_from_ranks(ranks: np.ndarray) -> dict[str, float]:
    """ranks: (users,), 1 the best, NEVER a miss at any k. The metrics by name: HR@1, HR@5, HR@10,
    NDCG@5, NDCG@10, MRR.
    """
    return {name: float(values.mean()) for name, values in _of_each(ranks).items()}


@dataclass(frozen=True)
class Spread:
    """Of a metric, or of the difference of two: low and high bound the central 95 % of what other
    users of the same kind would give; p is how likely a difference of this size or more would be
    if there were none (two-sided), None of a metric.
    """

    low: float
    high: float
    p: float | None = None


def spread(
    ranks: np.ndarray, others: np.ndarray | None = None, *, seed: int = 0
) -> dict[str, Spread]:
    """Of each metric, by the bootstrap over users (Efron 1979); with the ranks that another model
    gives the same users, of its lead over that one, paired by user.

    Users with the same ranks are resampled together, by how many there are.
    """
    pairs = np.stack((ranks, ranks if others is None else others))
    kinds, counts = np.unique(pairs, axis=1, return_counts=True)
    values = np.stack([*_of_each(kinds[0]).values()], axis=1)
    if others is not None:
        values -= np.stack([*_of_each(kinds[1]).values()], axis=1)
    generator = np.random.default_rng(seed)
    at_once = max(1, min(RESAMPLES, AT_ONCE // len(counts)))
    means = np.concatenate(
        [
            generator.multinomial(len(ranks), counts / len(ranks), at_once) @ values / len(ranks)
            for _ in range(-(-RESAMPLES // at_once))
        ]
    )
    spreads = {}
    for name, drawn in zip(_of_each(ranks[:1]), means.T):
        low, high = np.percentile(drawn, (2.5, 97.5))
        one_sided = min((drawn <= 0).mean(), (drawn >= 0).mean())
        p = None if others is None else float(min(1.0, 2 * max(one_sided, 1 / len(drawn))))
        spreads[name] = Spread(float(low), float(high), p)
    return spreads


def _of_each(ranks: np.ndarray) -> dict[str, np.ndarray]:
    """The metrics of every user."""
    gain = 1 / np.log2(ranks + 1.0)
    return (
        {f"HR@{k}": (ranks <= k).astype(float) for k in HIT_RATE_AT}
        | {f"NDCG@{k}": np.where(ranks <= k, gain, 0.0) for k in NDCG_AT}
        | {"MRR": 1.0 / ranks}
    )
