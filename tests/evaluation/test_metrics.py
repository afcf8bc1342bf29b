import math

import numpy as np
import pytest
import torch
from torchmetrics.retrieval import RetrievalHitRate, RetrievalMRR, RetrievalNormalizedDCG

from b4r_fast.evaluation import metrics_from_ranks, spread

TORCHMETRICS = {
    "HR@1": RetrievalHitRate(top_k=1),
    "HR@5": RetrievalHitRate(top_k=5),
    "HR@10": RetrievalHitRate(top_k=10),
    "NDCG@5": RetrievalNormalizedDCG(top_k=5),
    "NDCG@10": RetrievalNormalizedDCG(top_k=10),
    "MRR": RetrievalMRR(),
}


def test_metrics_agree_with_torchmetrics():
    users, items = 200, 40
    scores = torch.rand(users, items)
    targets = torch.randint(items, (users,))
    ranks = 1 + (scores > scores.gather(1, targets[:, None])).sum(1)
    relevant = torch.nn.functional.one_hot(targets, items).flatten()
    user_of_score = torch.arange(users).repeat_interleave(items)
    expected = {
        name: metric(scores.flatten(), relevant, indexes=user_of_score).item()
        for name, metric in TORCHMETRICS.items()
    }
    assert metrics_from_ranks(ranks.numpy()) == pytest.approx(expected, rel=1e-6)


def test_rank_ten_is_a_hit_at_ten_and_rank_eleven_is_none():
    assert metrics_from_ranks(np.array([10]))["HR@10"] == 1.0
    assert metrics_from_ranks(np.array([11]))["HR@10"] == 0.0
    assert metrics_from_ranks(np.array([11]))["NDCG@10"] == 0.0


def test_rank_one_for_everybody_gives_one_in_every_metric():
    assert metrics_from_ranks(np.ones(3, dtype=np.int64)) == dict.fromkeys(TORCHMETRICS, 1.0)


def test_the_spread_of_a_hit_rate_is_that_of_a_share():
    """The standard error of a share p of n users is sqrt(p (1 - p) / n)."""
    ranks = np.random.default_rng(0).permutation(np.repeat((1, 50), (600, 1400)))
    of_hits = spread(ranks)["HR@10"]
    assert of_hits.low < 0.3 < of_hits.high
    assert (of_hits.high - of_hits.low) / 2 == pytest.approx(
        1.96 * math.sqrt(0.3 * 0.7 / 2000), rel=0.1
    )
    assert of_hits.p is None
    assert spread(ranks) == spread(ranks)


def test_a_lead_is_told_from_chance_by_the_users_who_differ():
    ranks = np.random.default_rng(0).integers(1, 40, 2000)
    better, as_good = ranks.copy(), ranks.copy()
    better[:60] = 1
    as_good[:60] = np.random.default_rng(1).permutation(ranks[:60])
    assert spread(better, ranks)["NDCG@10"].p < 0.01
    assert spread(better, ranks)["NDCG@10"].low > 0
    assert spread(as_good, ranks)["NDCG@10"].p > 0.05
    assert spread(ranks, ranks)["MRR"].p == 1.0
    # Paired: far narrower than either model's own.
    lead, own = spread(better, ranks)["HR@10"], spread(ranks)["HR@10"]
    assert lead.high - lead.low < (own.high - own.low) / 2
