import pytest
import torch

from b4r_fast import BERT4Rec, BERT4RecConfig
from b4r_fast.evaluation import held_out_losses, losses

from .test_protocols import random_split

ITEMS = 60


def model_with(**options):
    torch.manual_seed(0)
    config = BERT4RecConfig(
        num_items=ITEMS, max_length=8, hidden_size=8, num_layers=1, initializer_range=0.5, **options
    )
    return BERT4Rec(config)  # in training mode, as after an epoch


def test_the_full_loss_is_the_cross_entropy_of_the_scores():
    split, model = random_split(users=300, num_items=ITEMS), model_with()
    scores = model.score(split.histories("test", split.users).pack())[:, 1:]
    targets = torch.from_numpy(split.targets("test", split.users)) - 1
    expected = torch.nn.functional.cross_entropy(scores, targets)
    assert held_out_losses(model, split, "test") == {"full": pytest.approx(float(expected))}


def test_the_sampled_loss_stands_beside_it_and_is_the_same_at_every_call():
    split = random_split(users=300, num_items=ITEMS)
    model = model_with(loss="sampled", num_negatives=200)
    found = held_out_losses(model, split, "validation")
    assert list(found) == ["full", "sampled"]
    assert found["sampled"] == pytest.approx(found["full"], rel=0.05)
    assert found["sampled"] != found["full"]
    torch.manual_seed(1)
    assert held_out_losses(model, split, "validation") == found


def test_of_many_users_some_are_asked_evenly_spread(monkeypatch):
    split, model = random_split(users=300, num_items=ITEMS), model_with()
    every = held_out_losses(model, split, "test")["full"]
    monkeypatch.setattr(losses, "LOSS_USERS", 110)
    asked = []
    monkeypatch.setattr(
        model, "encode", lambda h, encode=model.encode: asked.append(len(h)) or encode(h)
    )
    assert held_out_losses(model, split, "test")["full"] == pytest.approx(every, rel=0.1)
    assert sum(asked) == 100
