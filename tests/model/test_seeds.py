"""The seeds of a step: which op gets which, and that nothing about them is read back."""

import torch

from b4r_fast import BERT4Rec, BERT4RecConfig, PackedSequences
from b4r_fast.model.seeds import StepSeeds


def test_the_seeds_of_a_step_are_golden_ratios_apart_in_the_order_of_the_ops():
    """They are part of what a run is: other ones, and a resumed run has other bits than before."""
    seeds = StepSeeds.of(torch.tensor(5), 2)
    flat = [seeds.embedding, *(seed for layer in seeds.layers for seed in layer[:3])]
    flat += [seeds.negatives, *(seed for layer in seeds.layers for seed in layer[3:])]
    wrapped = ((5 + n * 0x9E3779B97F4A7C15 + 2**63) % 2**64 - 2**63 for n in range(12))
    assert [int(seed) for seed in flat] == list(wrapped)
    assert seeds.layers[1].ffn == flat[6]


def test_a_training_step_is_one_graph():
    """Reading anything back would break it in two, and a recording on a GPU outright."""
    model = BERT4Rec(
        BERT4RecConfig(num_items=30, max_length=12, hidden_size=16, loss="sampled", num_negatives=7)
    )

    def loss(values, cu_seqlens, labels, seed):
        return model(PackedSequences(values, cu_seqlens, 12), labels, seed=seed, rows=2).loss

    step = (
        torch.tensor([3, 31, 4, 31]),
        torch.tensor([0, 3, 4], dtype=torch.int32),
        torch.tensor([-100, 1, -100, 5]),
        torch.tensor(7),
    )
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")(*step)
    compiled.backward()
    assert compiled == loss(*step)
