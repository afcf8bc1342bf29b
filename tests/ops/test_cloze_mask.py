import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from b4r_fast import PackedSequences, ops, use_backend
from b4r_fast.backends.cpu.instruction_sets import SUPPORTED

from .native import assert_passes_in, assert_same_bits_for_any_number_of_threads, poison

MASK = 1001
lengths = st.lists(st.integers(0, 12), max_size=8)


def batch_of(lengths: list[int]) -> PackedSequences:
    return PackedSequences.from_lengths(
        torch.arange(1, sum(lengths) + 1), torch.tensor(lengths, dtype=torch.int64)
    )


@given(lengths, st.sampled_from([0.0, 0.2, 1.0]), st.integers(-(2**63), 2**63 - 1))
def test_every_sequence_hides_an_item_and_inputs_and_labels_fit(lengths, mask_prob, seed):
    batch = batch_of(lengths)
    inputs, labels = ops.cloze_mask(
        batch.values, batch.cu_seqlens, mask_prob=mask_prob, mask_id=MASK, seed=torch.tensor(seed)
    )
    hidden = labels != -100
    assert torch.equal(hidden, inputs == MASK)
    assert torch.equal(torch.where(hidden, labels, inputs), batch.values)
    for length, part in zip(lengths, hidden.split(lengths)):
        assert part.sum() >= min(length, 1)
        if mask_prob == 0.0:
            assert part.sum() == min(length, 1)
        if mask_prob == 1.0:
            assert part.all()


@given(lengths)
def test_last_only_hides_the_last_item_alone(lengths):
    batch = batch_of(lengths)
    _, labels = ops.cloze_mask(
        batch.values,
        batch.cu_seqlens,
        mask_prob=0.5,
        last_only=1.0,
        mask_id=MASK,
        seed=torch.tensor(1),
    )
    for part in (labels != -100).split(lengths):
        assert part.tolist() == [False] * (len(part) - 1) + [True] * min(len(part), 1)


def test_the_share_of_hidden_items_is_mask_prob():
    batch = batch_of([100] * 2000)
    _, labels = ops.cloze_mask(
        batch.values, batch.cu_seqlens, mask_prob=0.2, mask_id=MASK, seed=torch.tensor(1)
    )
    assert abs((labels != -100).double().mean() - 0.2) < 0.005


def test_the_share_of_last_only_samples_is_last_only():
    batch = batch_of([20] * 10_000)
    _, labels = ops.cloze_mask(
        batch.values,
        batch.cu_seqlens,
        mask_prob=1.0,
        last_only=0.3,
        mask_id=MASK,
        seed=torch.tensor(1),
    )
    alone = (labels != -100).view(10_000, 20).sum(1) == 1
    assert abs(alone.double().mean() - 0.3) < 0.025


def run(lengths: list[int], mask_prob: float, last_only: float, seed: int) -> list[torch.Tensor]:
    batch = batch_of(lengths)
    arguments = {
        "mask_prob": mask_prob,
        "last_only": last_only,
        "mask_id": MASK,
        "seed": torch.tensor(seed),
    }
    return list(ops.cloze_mask(batch.values, batch.cu_seqlens, **arguments))


def batches_agree_with_the_reference():
    # No sequence; empty ones; every place within a call of Philox; more sequences than a task; one
    # longer than any.
    batches = [
        [],
        [0],
        [0, 3, 0, 0, 1],
        list(range(40)),
        [1] * 100,
        torch.randint(0, 30, (333,)).tolist(),
        [10_000, 5],
    ]
    for lengths in batches:
        for mask_prob, last_only in ((0.0, 0.0), (0.2, 0.0), (0.37, 0.5), (1.0, 0.1), (0.5, 1.0)):
            for seed in (3, -1, 1 << 40):
                results = run(lengths, mask_prob, last_only, seed)
                with use_backend("reference"):
                    expected = run(lengths, mask_prob, last_only, seed)
                assert all(
                    torch.equal(ours, theirs)
                    for ours, theirs in zip(results, expected, strict=True)
                )


@pytest.mark.parametrize("isa", SUPPORTED)
def test_every_instruction_set_gives_the_bits_of_the_reference(isa):
    assert_passes_in(isa, batches_agree_with_the_reference)


def test_everything_is_written_for_any_number_of_threads(monkeypatch):
    poison(monkeypatch)
    lengths = torch.randint(0, 30, (333,)).tolist()
    assert_same_bits_for_any_number_of_threads(lambda: run(lengths, 0.2, 0.3, 5))
    inputs, labels = run(lengths, 0.2, 0.3, 5)
    assert inputs.min() > 0
    assert labels.min() == -100


def test_a_probability_outside_0_to_1_is_refused():
    batch = batch_of([3])
    with pytest.raises(ValueError, match=r"mask_prob must lie in \[0, 1\], got 1.5"):
        ops.cloze_mask(batch.values, batch.cu_seqlens, mask_prob=1.5, mask_id=MASK)


@pytest.mark.parametrize("backend", ["reference", "cpu", "triton"])
def test_padding_is_never_hidden(backend):
    values, cu_seqlens = torch.tensor([5, 0, 7, 0, 0]), torch.tensor([0, 3, 5], dtype=torch.int32)
    with use_backend(backend):
        inputs, labels = ops.cloze_mask(
            values, cu_seqlens, mask_prob=1.0, mask_id=MASK, seed=torch.tensor(1)
        )
    assert inputs.tolist() == [MASK, 0, MASK, 0, 0]
    assert labels.tolist() == [5, -100, 7, -100, -100]
