import numpy as np
import pytest
import torch
from torchmetrics.retrieval import RetrievalHitRate, RetrievalMRR, RetrievalNormalizedDCG

from b4r_fast.evaluation import metrics_from_ranks

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
