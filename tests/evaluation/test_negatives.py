import itertools
import tracemalloc

import numpy as np
import pytest

from b4r_fast import InputError
from b4r_fast.data import Sequences
from b4r_fast.evaluation import negatives as module
from b4r_fast.evaluation.negatives import NEGATIVES, draw_negatives


def draw(weights, known, seed=0):
    ends = np.cumsum([len(items) for items in known])
    values = np.concatenate([np.asarray(items, dtype=np.int32) for items in known])
    sequences = Sequences(values, np.concatenate(([0], ends[:-1])), ends, len(weights) - 1)
    return draw_negatives(sequences, np.asarray(weights), np.random.default_rng(seed))


@pytest.mark.parametrize(
    ("items", "seen"),
    [
        (10_000, 5),  # one round of draws is enough
        (120, 15),  # little more than the negatives is left, and one round is not enough
        (100, 0),  # the negatives are the whole catalogue
    ],
)
def test_a_user_gets_different_items_that_are_not_known(items, seen):
    generator = np.random.default_rng(1)
    known = [generator.choice(items, seen, replace=False) + 1 for _ in range(20)]
    got = draw(np.concatenate(([0], generator.integers(1, 50, items))), known)
    assert got.shape == (20, NEGATIVES)
    for row, out in zip(got, known):
        assert len(set(row)) == NEGATIVES
        assert not set(row) & set(out)
        assert row.min() >= 1
        assert row.max() <= items


@pytest.mark.parametrize("draws", [8, 2])  # after one round nearly everybody has both; few have
def test_samples_follow_the_law_of_successive_draws_without_replacement(draws, monkeypatch):
    monkeypatch.setattr(module, "NEGATIVES", 2)
    monkeypatch.setattr(module, "DRAWS", draws)
    users, weight = 10_000, {1: 8, 2: 4, 4: 1}
    negatives = np.sort(draw([0, 8, 4, 2, 1], [[3]] * users), axis=1)
    for a, b in itertools.combinations(weight, 2):
        expected = weight[a] * weight[b] / 13 * (1 / (13 - weight[a]) + 1 / (13 - weight[b]))
        assert (negatives == (a, b)).all(1).mean() == pytest.approx(
            expected, abs=4 * np.sqrt(expected / users)
        )


def test_a_user_who_has_seen_all_that_is_popular_costs_no_more_memory():
    """Drawing on until 100 unseen items had come took gigabytes: those that are left have a
    millionth of the weight.
    """
    weights = np.array([0] + [10_000_000] * 50 + [1] * 150)
    tracemalloc.start()
    negatives = draw(weights, [range(1, 51)] * 20)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert negatives.min() > 50
    assert peak < 10_000_000


def test_an_item_without_weight_is_never_drawn(monkeypatch):
    monkeypatch.setattr(module, "NEGATIVES", 3)
    assert set(draw([0, 5, 0, 5, 5], [[]] * 50).flatten()) == {1, 3, 4}


def test_negatives_follow_from_the_seed():
    weights = np.concatenate(([0], np.arange(1, 500)))
    np.testing.assert_array_equal(
        draw(weights, [[1, 2]] * 5, seed=3), draw(weights, [[1, 2]] * 5, seed=3)
    )
    assert (draw(weights, [[1, 2]] * 5, seed=3) != draw(weights, [[1, 2]] * 5, seed=4)).any()


def test_a_catalogue_too_small_to_sample_from_says_so():
    with pytest.raises(InputError, match="too small"):
        draw([0] + [1] * 100, [[], [2, 2, 4]])
