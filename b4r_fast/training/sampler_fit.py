"""How well a sampler of negatives fits the data that it trains on.

A sampled loss estimates the sum over the catalogue. Of K draws from q, where the softmax is p, only
K / sum(p^2 / q) count (the effective sample size: Kong, Liu and Wong 1994): with too few the sum is
nearly always too small, and the loss with it, whatever the model has learned. Before anything is
learned of a user p is the popularity of the items, so that stands for it here.
"""

from __future__ import annotations

import numpy as np
import torch

from ..backends.reference.sample_negatives import with_log_q
from ..data import Sequences
from ..model import BERT4RecConfig
from ..ops.sample_negatives import SAMPLERS

# MovieLens and Beauty: log_uniform 0.54 to 0.57, uniform 0.14 to 0.36. A Zipf law over 200,000
# items: 0.99 and 0.0005. As many items, all alike: 0.16 and 1.
POOR = 0.1


def worth(sampler: str, counts: np.ndarray) -> float:
    """How many negatives by popularity tell as much as one of this sampler, in (0, 1]. counts:
    (num_items,) int64, entry r is item r + 1.
    """
    drawn_by = torch.from_numpy(counts) if sampler == "popularity" else None
    _, log_expected = with_log_q(torch.arange(len(counts)), len(counts), sampler, drawn_by)
    q = log_expected.double().exp().numpy() / len(counts)
    p = counts / counts.sum()
    return 1.0 / float((p[p > 0] ** 2 / q[p > 0]).sum())


def warning_of_sampler(config: BERT4RecConfig, train: Sequences) -> str | None:
    """A line for who trains on these sequences with a sampler that does not fit them."""
    if config.loss != "sampled":
        return None
    counts = train.counts()[1:]
    if (ours := worth(config.sampler, counts)) >= POOR:
        return None
    fitting = next(s for s in SAMPLERS if worth(s, counts) >= POOR)  # popularity does at any rate
    draws = config.num_negatives
    return (
        f"warning: the sampler {config.sampler} does not fit this data, and the training loss will"
        f" be too low: {draws:,} of its negatives tell as much as {draws * ours:,.1f} drawn by"
        f" popularity, those of {fitting} as much as {draws * worth(fitting, counts):,.1f}"
    )
