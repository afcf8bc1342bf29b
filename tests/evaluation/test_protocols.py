import dataclasses
import tracemalloc

import numpy as np
import pytest
import torch

from b4r_fast import BERT4Rec, BERT4RecConfig, InputError
from b4r_fast.data import Sequences, leave_one_out
from b4r_fast.evaluation import PROTOCOLS, Ranker, metrics_from_ranks, rank_held_out
from b4r_fast.evaluation.metrics import NEVER


def split_of(histories, num_items):
    ends = np.cumsum([len(history) for history in histories])
    values = np.concatenate([np.asarray(history, dtype=np.int32) for history in histories])
    return leave_one_out(Sequences(values, np.concatenate(([0], ends[:-1])), ends, num_items))


def random_split(users, num_items, length=6):
    generator = np.random.default_rng(0)
    return split_of(
        [generator.choice(num_items, length, replace=False) + 1 for _ in range(users)], num_items
    )


def model_of(num_items):
    return BERT4Rec(
        BERT4RecConfig(num_items=num_items, max_length=8, hidden_size=8, num_heads=2, num_layers=1)
    )


def same_for_all(scores):
    """A ranker that gives everybody these scores of items 1, 2, ..."""
    return Ranker(
        lambda histories: torch.ones(len(histories), 1),
        torch.as_tensor(scores, dtype=torch.float32)[:, None],
    )


def test_full_ranking_leaves_out_the_history_of_the_stage():
    split, falling = split_of([[1, 2, 3, 4]], num_items=6), [6.0, 5.0, 4.0, 3.0, 2.0, 1.0]
    assert rank_held_out(same_for_all(falling), split, "test").item() == 1  # 1, 2 and 3 are seen
    assert rank_held_out(same_for_all(falling), split, "validation").item() == 1  # 1 and 2 are seen
    rising = same_for_all(falling[::-1])
    assert rank_held_out(rising, split, "validation").item() == 4  # 6, 5 and 4 are better


@pytest.mark.parametrize(
    ("exclude_seen", "ranks"), [(True, [NEVER, 1]), (False, [4, 3]), (None, [2, 1])]
)
def test_a_held_out_item_of_the_history_is_missed_where_seen_items_are_left_out(
    exclude_seen, ranks
):
    """It was ranked, and found, all the same, where no recommendation could ever hold it."""
    split = split_of([[1, 2, 3, 1], [2, 3, 1, 5]], num_items=5)
    ranker = same_for_all([3.0, 9.0, 9.0, 2.0, 4.0])
    assert rank_held_out(ranker, split, "test", exclude_seen=exclude_seen).tolist() == ranks


@pytest.mark.parametrize("protocol", ["pop100", "uni100"])
def test_sampled_protocols_rank_a_repeat_like_any_item_as_the_papers_do(protocol):
    split = split_of([[1, 2, 3, 1], np.arange(1, 301)], num_items=300)
    split = dataclasses.replace(split, users=split.users[:1])
    best_first = same_for_all(np.linspace(2, 1, 300))
    assert rank_held_out(best_first, split, "test", protocol).item() == 1


@pytest.mark.parametrize("exclude_seen", [True, False])
def test_what_is_found_at_k_is_what_the_model_recommends(exclude_seen):
    """Of a log with repeats evaluate counted items that recommend never gives."""
    generator = np.random.default_rng(3)
    split = split_of([generator.integers(1, 21, 6) for _ in range(300)], num_items=20)
    model = model_of(20)
    ranks = rank_held_out(Ranker.of_model(model), split, "test", exclude_seen=exclude_seen)
    targets = torch.from_numpy(split.targets("test", split.users))[:, None]
    histories = split.histories("test", split.users).pack()
    for k in (1, 5, 10):
        ids, _ = model.recommend(histories, k, exclude_seen)
        np.testing.assert_array_equal(ranks <= k, (ids == targets).any(1).numpy())


def test_an_item_that_is_never_recommended_is_worth_nothing():
    metrics = metrics_from_ranks(np.array([1, NEVER]))
    assert {name: round(value, 12) for name, value in metrics.items()} == dict.fromkeys(
        metrics, 0.5
    )


@pytest.mark.parametrize("protocol", PROTOCOLS)
# A constant model, and one that diverged, know nothing.
@pytest.mark.parametrize("score", [0.0, float("nan")])
def test_ties_and_scores_that_are_no_numbers_count_against_the_model(protocol, score):
    ranks = rank_held_out(
        same_for_all([score] * 300), random_split(users=200, num_items=300), "test", protocol
    )
    assert (ranks == (300 - 5 if protocol == "full" else 101)).all()


@pytest.mark.parametrize("protocol", ["pop100", "uni100"])
def test_sampled_ranks_follow_from_the_seed(protocol):
    split, ranker = random_split(users=50, num_items=2000), Ranker.of_model(model_of(2000))
    np.testing.assert_array_equal(
        rank_held_out(ranker, split, "test", protocol, seed=1),
        rank_held_out(ranker, split, "test", protocol, seed=1),
    )
    assert (
        rank_held_out(ranker, split, "test", protocol, seed=1)
        != rank_held_out(ranker, split, "test", protocol, seed=2)
    ).any()


def test_full_ranks_agree_with_the_scores_of_the_model():
    split, model = random_split(users=30, num_items=50), model_of(50)
    ranks = rank_held_out(Ranker.of_model(model), split, "test")
    histories = split.histories("test", split.users).pack()
    scores = model.score(histories)
    for user, (history, target) in enumerate(
        zip(histories.to_lists(), split.targets("test", split.users))
    ):
        scores[user, history] = -torch.inf
        assert ranks[user] == (scores[user] >= scores[user, target]).sum()


def test_users_beyond_one_part_are_ranked_as_if_alone():
    split, ranker = random_split(users=600, num_items=40), Ranker.of_model(model_of(40))
    last = leave_one_out(split.sequences.select(np.arange(599, 600)))
    assert rank_held_out(ranker, split, "test")[599] == rank_held_out(ranker, last, "test")[0]


def test_users_with_fewer_than_three_actions_are_not_evaluated():
    assert (
        len(rank_held_out(same_for_all([1.0] * 5), split_of([[1], [1, 2], [1, 2, 3]], 5), "test"))
        == 1
    )


def test_popularity_counts_training_actions_only():
    # Item 5 is everybody's test item and item 4 the validation item; in training item 1 is the most
    # frequent.
    split = split_of([[1, 2, 4, 5], [1, 3, 4, 5], [1, 2, 4, 5]], num_items=6)
    assert Ranker.by_popularity(split.train.counts()).items.flatten().tolist() == [3, 2, 1, 0, 0, 0]


def test_pop100_memory_is_not_users_times_items():
    users, items = 500, 100_000
    split = random_split(users, items)
    tracemalloc.start()
    rank_held_out(same_for_all(torch.rand(items)), split, "test", "pop100")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < users * items / 2  # half of what a byte for each user and item would take


def test_an_unknown_protocol_is_named_with_what_there_is():
    with pytest.raises(InputError, match="full, pop100, uni100"):
        rank_held_out(
            same_for_all([1.0] * 9), random_split(users=3, num_items=9), "test", "pop1000"
        )
