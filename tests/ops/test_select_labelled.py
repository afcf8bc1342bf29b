import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from b4r_fast import ops, use_backend

BACKENDS = ["reference", "triton"]


def offsets(lengths: list[int]) -> torch.Tensor:
    return torch.tensor([0, *lengths]).cumsum(0).int()


@pytest.mark.parametrize("backend", BACKENDS)
def test_as_many_rows_as_labels_are_the_labelled_tokens(backend):
    labels = torch.tensor([7, -100, -100, 3, 1])
    with use_backend(backend):
        index, targets, cu_seqlens = ops.select_labelled(labels, offsets([2, 0, 3]), 3)
    assert index.tolist() == [0, 3, 4]
    assert targets.tolist() == [6, 2, 0]
    assert cu_seqlens.tolist() == [0, 1, 1, 3]


@pytest.mark.parametrize("backend", BACKENDS)
def test_spare_rows_are_the_first_tokens_without_a_label(backend):
    labels = torch.tensor([7, -100, -100, 3, 1])
    with use_backend(backend):
        index, targets, cu_seqlens = ops.select_labelled(labels, offsets([2, 0, 3]), 4)
    assert index.tolist() == [0, 1, 3, 4]
    assert targets.tolist() == [6, -100, 2, 0]
    assert cu_seqlens.tolist() == [0, 2, 2, 4]


@pytest.mark.parametrize("backend", BACKENDS)
def test_labels_beyond_the_rows_are_left_out_from_the_end(backend):
    labels = torch.tensor([7, -100, -100, 3, 1])
    with use_backend(backend):
        index, targets, cu_seqlens = ops.select_labelled(labels, offsets([2, 0, 3]), 1)
    assert index.tolist() == [0]
    assert targets.tolist() == [6]
    assert cu_seqlens.tolist() == [0, 1, 1, 1]


@given(st.lists(st.lists(st.booleans(), max_size=9), max_size=5), st.integers(0, 45))
def test_rows_are_distinct_tokens_in_order_and_know_their_sequences(labelled, rows):
    flat = torch.tensor([label for sequence in labelled for label in sequence], dtype=torch.bool)
    rows = min(rows, len(flat))
    cu_seqlens = offsets([len(sequence) for sequence in labelled])
    index, targets, cu_rows = ops.select_labelled(
        torch.where(flat, torch.arange(len(flat)) + 1, -100), cu_seqlens, rows
    )
    assert torch.equal(index.unique(), index)
    assert len(index) == rows
    assert torch.equal(targets, torch.where(flat[index], index, -100))
    assert int((targets >= 0).sum()) == min(rows, int(flat.sum()))
    assert cu_rows.tolist() == [int((index < end).sum()) for end in cu_seqlens]


def test_more_rows_than_tokens_are_refused():
    with pytest.raises(
        ValueError, match="rows must lie between 0 and the number of tokens, 2, got 3"
    ):
        ops.select_labelled(torch.tensor([1, -100]), offsets([2]), 3)
