"""Hit rate, normalised discounted cumulative gain and mean reciprocal rank, for one relevant item a
user (BERT4Rec, section 4.2).

With rank r of that item: HR@k = [r <= k], NDCG@k = [r <= k] / log2(r + 1), MRR = 1 / r; means over
the users.
"""

from __future__ import annotations

import numpy as np

NEVER = np.iinfo(np.int64).max  # the rank of an item that is not recommended however long the list
HIT_RATE_AT = (1, 5, 10)
NDCG_AT = (5, 10)


def metrics_from_ranks(ranks: np.ndarray) -> dict[str, float]:
    """ranks: (users,), 1 the best, NEVER a miss at any k. The metrics by name: HR@1, HR@5, HR@10,
    NDCG@5, NDCG@10, MRR.
    """
    gain = 1 / np.log2(ranks + 1.0)
    return (
        {f"HR@{k}": float((ranks <= k).mean()) for k in HIT_RATE_AT}
        | {f"NDCG@{k}": float(np.where(ranks <= k, gain, 0.0).mean()) for k in NDCG_AT}
        | {"MRR": float((1.0 / ranks).mean())}
    )
