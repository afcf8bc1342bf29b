"""The count of useful operations against what PyTorch counts in its own products, where nothing is
padded.
"""

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import operations, peers
from benchmarks.batch import Batch

from .tiny import LENGTHS, tiny_batch, tiny_work


def test_a_training_step_counts_the_products_of_the_model_that_computes_no_padding():
    work = tiny_work(hidden_size=32, num_heads=4)
    first, second, length = LENGTHS[:3]
    tokens = slice(first + second, first + second + length)  # of the third sequence, the longest
    all_of_them = tiny_batch(work)
    batch = Batch(
        all_of_them.values[tokens],
        torch.tensor([0, length]).int(),
        all_of_them.labels[tokens],
        work.num_items,
        length,
        "",
    )
    step = peers.build_training("eager-unpadded", work)
    step.load(batch)
    with (
        FlopCounterMode(display=False) as counter,
        torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH),
    ):
        step.backward(step.forward())
    hidden = batch.hidden_of_sequence()
    counts = operations.training_step(batch.lengths, hidden, 32, 4, work.num_layers, work.num_items)
    exponentials = (
        4 * int((batch.lengths * batch.lengths + hidden * batch.lengths).sum())
        + int(hidden.sum()) * work.num_items
    )
    assert sum(counts.values()) - operations.EXP * exponentials == counter.get_total_flops()


def test_padding_and_visible_tokens_add_nothing_to_the_head():
    rows = {"lengths": torch.tensor([5, 9]), "hidden": torch.tensor([1, 2])}
    few, many = (
        operations.training_step(**rows, hidden_size=16, num_heads=2, num_layers=1, columns=columns)
        for columns in (10, 11)
    )
    assert many["forward"] - few["forward"] == 3 * (2 * 16 + operations.EXP)
    assert many["backward"] - few["backward"] == 3 * 4 * 16
