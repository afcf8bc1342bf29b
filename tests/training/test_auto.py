"""The preset auto, by the size of the data."""

import dataclasses

import numpy as np
import pytest

from b4r_fast.data import Sequences
from b4r_fast.training import auto_settings
from b4r_fast.training.settings import BEST


def sequences(users, length, items):
    """So many histories of one length."""
    starts = np.arange(users) * length
    values = np.ones(users * length, np.int32)
    return Sequences(values, starts, starts + length, num_items=items)


def test_movielens_gets_what_was_chosen_on_it():
    found = auto_settings(sequences(users=6040, length=164, items=3416))
    assert (found.max_length, found.batch_size, found.hidden_dropout) == (166, 16, 0.1)
    assert (found.loss, found.ema) == ("full", BEST.ema)
    assert auto_settings(sequences(users=943, length=104, items=1682)).hidden_dropout == 0.2


def test_every_history_fits_with_the_item_to_come_and_the_mask():
    assert auto_settings(sequences(10, 30, 100)).max_length == 32
    assert auto_settings(sequences(10, 3, 100)).max_length == 20
    assert auto_settings(sequences(10, 3000, 100)).max_length == 200


def test_short_histories_make_larger_batches_of_shorter_windows():
    found = auto_settings(sequences(10, 30, 100))
    assert (found.batch_size, found.shortest_window) == (53, 3)
    found = auto_settings(sequences(10, 30, 100), max_length=10)
    assert (found.max_length, found.batch_size, found.shortest_window) == (10, 128, 2)


def test_rare_items_get_more_dropout():
    assert auto_settings(sequences(100, 6, 1000)).hidden_dropout == 0.5


def test_above_200_000_items_a_step_costs_what_it_names():
    large = sequences(2, 10, 200_001)
    found = auto_settings(large)
    assert (found.loss, found.sparse_gradients, found.ema) == ("sampled", True, 0.0)
    found = auto_settings(large, loss="full")
    assert (found.loss, found.sparse_gradients, found.ema) == ("full", False, BEST.ema)
    assert found.model_config(200_001).loss == "full"
    found = auto_settings(sequences(2, 10, 200_000), loss="sampled")
    assert (found.loss, found.sparse_gradients) == ("sampled", False)


@pytest.mark.parametrize("epochs", [1, 3, 40, 400])
def test_a_short_run_too_comes_to_the_samples_that_hide_the_last_item(epochs):
    found = auto_settings(sequences(10, 30, 100), epochs=epochs)
    assert found.last_items_from < epochs == found.epochs
    assert found.grow_epochs < epochs
    if epochs == BEST.epochs:
        assert dataclasses.replace(found, **of_best("grow_epochs", "last_items_from")) == found


def of_best(*names):
    return {name: getattr(BEST, name) for name in names}
