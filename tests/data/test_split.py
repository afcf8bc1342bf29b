"""Leave-one-out, and packing of any choice of users."""

import numpy as np
import pytest
import torch

from b4r_fast import InputError
from b4r_fast.data import leave_one_out
from b4r_fast.data import split as split_module

from .histories import sequences_of


def test_the_last_item_tests_the_second_last_validates_the_rest_trains():
    split = leave_one_out(sequences_of([1, 2, 3, 4], [5, 6, 7]))
    users = split.users
    assert users.tolist() == [0, 1]
    assert split.train.pack().to_lists() == [[1, 2], [5]]
    assert split.histories("validation", users).pack().to_lists() == [[1, 2], [5]]
    assert split.targets("validation", users).tolist() == [3, 6]
    # The validation item belongs to it.
    assert split.histories("test", users).pack().to_lists() == [[1, 2, 3], [5, 6]]
    assert split.targets("test", users).tolist() == [4, 7]


def test_a_user_with_one_action_stays_in_training_and_is_not_evaluated():
    split = leave_one_out(sequences_of([9], [1, 2, 3], [4, 5]))
    assert split.users.tolist() == [1]
    assert split.train.pack().to_lists() == [[9], [1], [4, 5]]


def test_no_held_out_item_reaches_training():
    draw = np.random.default_rng(0)
    # Every item once: a target found in training would be a leak.
    lengths = draw.integers(1, 9, 200)
    items = draw.permutation(lengths.sum()) + 1
    sequences = sequences_of(
        *[part.tolist() for part in np.split(items, np.cumsum(lengths)[:-1])], num_items=len(items)
    )
    split = leave_one_out(sequences)
    held_out = np.concatenate(
        [split.targets(stage, split.users) for stage in ("validation", "test")]
    )
    trained = split.train.pack().values.numpy()
    assert not np.isin(held_out, trained).any()
    assert sorted([*held_out, *trained]) == sorted(items)


def test_a_held_out_item_of_the_history_is_a_repeat(monkeypatch):
    monkeypatch.setattr(split_module, "USERS_AT_A_TIME", 2)
    split = leave_one_out(
        sequences_of([1, 2, 1, 3], [5, 6, 7, 6], [4, 4, 4], [8, 9, 3], [2, 1, 5, 5], num_items=9)
    )
    assert split.repeats("validation", split.users).tolist() == [True, False, True, False, False]
    assert split.repeats("test", split.users).tolist() == [False, True, True, False, True]
    assert split.repeats("test", np.array([3, 1])).tolist() == [False, True]
    assert split.share_of_repeats() == 0.5


def test_nobody_to_hold_out_is_an_error():
    with pytest.raises(InputError, match="none of the 2 users has 3 actions"):
        leave_one_out(sequences_of([1, 2], [3]))


def test_any_choice_of_users_is_packed_in_that_order():
    sequences = sequences_of([1, 2, 3], [], [4], [5, 6])
    packed = sequences.select(np.array([3, 1, 0, 3])).pack()
    assert packed.to_lists() == [[5, 6], [], [1, 2, 3], [5, 6]]
    assert packed.values.dtype == torch.int64
    assert packed.cu_seqlens.dtype == torch.int32
    assert packed.max_seqlen == 3
    assert len(sequences.select(np.array([], np.int64)).pack()) == 0


def test_counts_are_of_what_is_left():
    sequences = sequences_of([1, 2, 2], [2, 3], num_items=4)
    assert sequences.counts().tolist() == [0, 1, 3, 1, 0]
    assert sequences.without_last(1).counts().tolist() == [0, 1, 2, 0, 0]
    assert sequences.without_last(5).counts().tolist() == [0, 0, 0, 0, 0]
