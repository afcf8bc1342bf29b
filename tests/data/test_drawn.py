"""Batches whose windows are drawn anew every epoch."""

from collections import Counter

import numpy as np
import pytest
import torch

from b4r_fast.data import ClozeBatch, DrawnBatches

from .histories import sequences_of

ITEMS = 10_000


def histories(users: int = 60, longest: int = 90) -> list[list[int]]:
    """Of rising items, so that a window tells where it lies."""
    draw = np.random.default_rng(3)
    begins, lengths = draw.integers(1, ITEMS - longest, users), draw.integers(1, longest + 1, users)
    return [list(range(begin, begin + n)) for begin, n in zip(begins.tolist(), lengths.tolist())]


def batches(logs: list[list[int]] | None = None, **options) -> DrawnBatches:
    settings = {"max_length": 20, "batch_size": 8, "mask_prob": (0.2, 0.6), "seed": 5} | options
    return DrawnBatches(sequences_of([1, ITEMS], *(logs or histories())), **settings)


def parts(batch: ClozeBatch) -> list[tuple[list[int], list[int]]]:
    """The items of each sequence, and the places of those hidden."""
    values = torch.where(batch.labels == -100, batch.inputs.values, batch.labels)
    lengths = batch.inputs.lengths.tolist()
    return [
        (items.tolist(), (labels != -100).nonzero().flatten().tolist())
        for items, labels in zip(torch.split(values, lengths), torch.split(batch.labels, lengths))
    ]


def test_an_epoch_has_a_window_for_every_max_length_items_and_another_one_each_epoch():
    logs = histories()
    drawn = batches(logs)
    windows = [
        [items for step in range(len(drawn)) for items, _ in parts(drawn.batch(epoch, step))]
        for epoch in (0, 1)
    ]
    expected = sum(-(-len(log) // 20) for log in logs if len(log) > 1) + 1  # the one for ITEMS
    assert [len(of_epoch) for of_epoch in windows] == [expected, expected]
    assert windows[0] != windows[1]
    ends = Counter(log[-1] for log in logs)
    assert all(
        items == list(range(items[0], items[-1] + 1)) for items in windows[0] if items[0] > 1
    )
    assert sum(items[-1] in ends for items in windows[0]) < len(logs)
    assert all(2 <= len(items) <= 20 for items in windows[0])


def test_without_random_ends_every_history_has_a_window_at_its_end():
    logs = [log for log in histories() if len(log) > 1]
    drawn = batches(logs, random_ends=0.0)
    ends = [items[-1] for step in range(len(drawn)) for items, _ in parts(drawn.batch(0, step))]
    assert {log[-1] for log in logs} <= {*ends}


def test_a_batch_is_a_function_of_seed_epoch_and_step():
    one, two, other = batches(last_items=4), batches(last_items=4), batches(last_items=4, seed=6)
    one.batch(1, 0)  # whatever came before
    assert parts(one.batch(2, 3)) == parts(two.batch(2, 3)) != parts(other.batch(2, 3))


def test_the_last_item_samples_hide_the_last_item_alone_and_weigh_together_what_they_shall():
    drawn = batches(last_items=32, last_item_weight=0.5)
    ends = Counter()
    for step in range(len(drawn)):
        batch = drawn.batch(0, step)
        cloze, last = parts(batch)[:-32], parts(batch)[-32:]
        assert all(hidden == [len(items) - 1] for items, hidden in last)
        count = sum(len(hidden) for _, hidden in cloze)
        assert (batch.weights[: sum(len(items) for items, _ in cloze)] == 1).all()
        weighed = batch.weights[batch.labels != -100]
        assert weighed[count:].sum() == pytest.approx(0.5 * count)
        ends.update(items[-1] for items, _ in last)
    assert len(ends) > 100  # any item of a history, and not its last alone


def test_last_items_begin_when_they_shall():
    drawn = batches(last_items=4, last_items_from=2)
    assert [drawn.batch(epoch, 0).weights is None for epoch in range(4)] == [
        True,
        True,
        False,
        False,
    ]


def test_windows_are_of_drawn_lengths_that_grow_to_all_there_is():
    long = [list(range(1, 1000)) for _ in range(30)]
    drawn = batches(long, random_ends=0.0, shortest_window=5, grow_epochs=4)
    full = [
        np.mean(
            [len(i) == 20 for step in range(len(drawn)) for i, _ in parts(drawn.batch(e, step))]
        )
        for e in range(6)
    ]
    assert full[0] < 0.1 < full[1] < full[3] < full[4]
    assert full[4] == full[5] > 0.99  # but for the history of two items


def test_each_batch_draws_its_share_of_hidden_items():
    drawn = batches([list(range(1, 1000)) for _ in range(200)], batch_size=50)
    shares = [
        float((drawn.batch(0, step).labels != -100).float().mean()) for step in range(len(drawn))
    ]
    assert all(0.15 < share < 0.65 for share in shares)
    assert max(shares) - min(shares) > 0.2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"shortest_window": 0}, "shortest_window must be at least 1"),
        ({"mask_prob": (0.2, 1.5)}, r"must lie in \[0, 1\], got 1.5"),
        ({"seed": -1}, "seed must be at least 0"),
    ],
)
def test_sizes_that_make_no_batch_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        batches(**options)


def test_histories_of_one_item_are_left_out_unless_there_are_no_others():
    options = {"max_length": 5, "batch_size": 2, "mask_prob": (0.2, 0.2), "last_items": 1}
    assert len(DrawnBatches(sequences_of([1], [2, 3]), **options).histories) == 1
    alone = DrawnBatches(sequences_of([1], [2]), **options)
    batch = alone.batch(0, 0)
    assert (batch.inputs.values == alone.mask_id).all()
    assert sorted(batch.labels[:2].tolist()) == [1, 2]


def test_no_item_to_train_on_is_refused():
    with pytest.raises(ValueError, match="no sequence to train on"):
        DrawnBatches(sequences_of([], []), max_length=5, batch_size=2, mask_prob=(0.2, 0.2))
