import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from b4r_fast import PackedSequences

lists = st.lists(st.lists(st.integers(1, 100), max_size=6), max_size=6)


@given(lists)
def test_lists_survive_packing(sequences):
    packed = PackedSequences.from_lists(sequences)
    assert packed.to_lists() == sequences
    assert len(packed) == len(sequences)
    assert packed.max_seqlen == max(map(len, sequences), default=0)
    assert packed.cu_seqlens.dtype == torch.int32
    assert packed.positions().tolist() == [i for s in sequences for i in range(len(s))]
    assert packed.sequence_of_token().tolist() == [b for b, s in enumerate(sequences) for _ in s]


@given(lists, st.integers(1, 7))
def test_newest_keeps_the_end_and_append_adds_to_it(sequences, length):
    packed = PackedSequences.from_lists(sequences)
    assert packed.newest(length).to_lists() == [s[-length:] for s in sequences]
    assert packed.append(7).to_lists() == [[*s, 7] for s in sequences]


def test_padding_anywhere_is_left_out():
    packed = PackedSequences.from_padded(torch.tensor([[0, 1, 0, 2], [0, 0, 0, 0], [3, 4, 5, 6]]))
    assert packed.to_lists() == [[1, 2], [], [3, 4, 5, 6]]


def test_a_padded_batch_has_two_dimensions():
    with pytest.raises(ValueError, match=r"input_ids must be an integer tensor \(batch, length\)"):
        PackedSequences.from_padded(torch.tensor([1, 2]))
