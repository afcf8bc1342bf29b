import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from b4r_fast import BERT4Rec, BERT4RecConfig, PackedSequences

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


@given(lists, st.integers(0, 9), st.integers(6, 8))
def test_fill_adds_sequences_of_padding_up_to_one_shape(sequences, spare, longest):
    packed = PackedSequences.from_lists(sequences)
    tokens, most = packed.values.numel() + spare, len(sequences) + 2
    filled = packed.fill(tokens, most, longest)
    assert filled.values.numel() == tokens
    assert len(filled) == most
    assert filled.max_seqlen == longest
    assert filled.to_lists()[: len(sequences)] == sequences
    padding = filled.to_lists()[len(sequences) :]
    assert [value for sequence in padding for value in sequence] == [0] * spare
    assert max(map(len, padding)) <= longest


def test_fill_says_what_does_not_fit():
    packed = PackedSequences.from_lists([[1, 2, 3], [4]])
    with pytest.raises(
        ValueError, match="at most 3 tokens, 2 sequences and 5 tokens a sequence, got 4, 2 and 3"
    ):
        packed.fill(3, 2, 5)
    with pytest.raises(ValueError, match="8 tokens of padding need 2 sequences, got 1"):
        packed.fill(12, 3, 5)


def test_a_model_takes_padding_after_all_items_and_nowhere_else():
    model = BERT4Rec(
        BERT4RecConfig(num_items=9, max_length=5, hidden_size=8, num_heads=1, num_layers=1)
    ).eval()
    packed = PackedSequences.from_lists([[1, 2, 3], [4]])
    filled = packed.fill(9, 4, 5)
    torch.testing.assert_close(model(filled).hidden_states[:4], model(packed).hidden_states)
    with pytest.raises(ValueError, match="input_ids must be item ids, 1 to 10; got 0"):
        model(PackedSequences.from_lists([[1, 0, 3], [4]]))


class OfPacked(torch.nn.Module):
    """A model's answer to the tensors of packed sequences, as torch.export takes it."""

    def __init__(self, model, answer):
        super().__init__()
        self.model, self.answer = model, answer

    def forward(self, values, cu_seqlens):
        return self.answer(self.model, PackedSequences(values, cu_seqlens, 7))


@pytest.mark.parametrize("positions_from", ["start", "end"])
@pytest.mark.parametrize(
    "answer",
    [
        lambda model, batch: model(batch).hidden_states,
        lambda model, batch: model.encode(batch),
        lambda model, batch: model.recommend(batch, k=3).ids,
    ],
    ids=["hidden states", "query vectors", "recommendations"],
)
def test_an_exported_model_takes_any_number_of_sequences(answer, positions_from):
    """It took as many as it was exported with: len() is a number, and a graph keeps it."""
    config = BERT4RecConfig(
        num_items=9, max_length=8, hidden_size=8, num_layers=1, positions_from=positions_from
    )
    model = OfPacked(BERT4Rec(config).eval(), answer)
    few = PackedSequences.from_lists([[1, 2, 3], [4, 5]])
    many = PackedSequences.from_lists([[1, 2, 3], [4, 5], [6], [7, 8, 9, 1]])
    sizes = {0: torch.export.Dim("tokens")}, {0: torch.export.Dim("ends", min=3)}
    exported = torch.export.export(model, (few.values, few.cu_seqlens), dynamic_shapes=sizes)
    arguments = many.values, many.cu_seqlens
    torch.testing.assert_close(exported.module()(*arguments), model(*arguments))
