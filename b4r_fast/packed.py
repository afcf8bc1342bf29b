"""Packed sequences: what the model computes on. No padding is ever stored or computed."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from . import ops
from .backends import labels

PADDING_ID, IGNORED_LABEL = labels.PADDING, labels.IGNORED


@dataclass(frozen=True, slots=True)
class PackedSequences:
    """A batch of sequences laid end to end.

    values: (tokens,) int64 item ids; 0 in sequences of padding alone, after all others (fill).
    cu_seqlens: (batch + 1,) int32, sequence b owns values[cu_seqlens[b]:cu_seqlens[b + 1]].
    max_seqlen: a Python int, no sequence is longer.
    """

    values: Tensor
    cu_seqlens: Tensor
    max_seqlen: int

    @classmethod
    def from_lengths(cls, values: Tensor, lengths: Tensor) -> PackedSequences:
        """From values (tokens,) and the length of each sequence (batch,)."""
        cu_seqlens = torch.zeros(lengths.numel() + 1, dtype=torch.int32, device=values.device)
        torch.cumsum(lengths, 0, dtype=torch.int32, out=cu_seqlens[1:])
        return cls(values, cu_seqlens, int(lengths.max()) if lengths.numel() else 0)

    @classmethod
    def from_lists(cls, sequences: Iterable[Sequence[int]]) -> PackedSequences:
        """From one list of item ids per sequence; empty lists are sequences of length 0.

        Raises ValueError where a sequence is no list of integers.
        """
        tensors = [_item_ids(sequence, place) for place, sequence in enumerate(sequences)]
        values = torch.cat(tensors) if tensors else torch.empty(0, dtype=torch.int64)
        return cls.from_lengths(
            values, torch.tensor([t.numel() for t in tensors], dtype=torch.int64)
        )

    @classmethod
    def from_padded(cls, input_ids: Tensor) -> PackedSequences:
        """From a padded batch (batch, length): every 0, on either side or inside, is padding and is
        left out.
        """
        if input_ids.dim() != 2 or not _of_integers(input_ids):
            raise ValueError(
                f"input_ids must be an integer tensor (batch, length), got {input_ids.dtype}"
                f" {tuple(input_ids.shape)}"
            )
        real = input_ids != PADDING_ID
        return cls.from_lengths(input_ids[real].long(), real.sum(1))

    def __len__(self) -> int:
        """The number of sequences, as an int; within a graph that torch.export leaves open for any
        number, batch_size.
        """
        return self.batch_size

    @property
    def batch_size(self) -> int:
        """The number of sequences."""
        return self.cu_seqlens.numel() - 1

    @property
    def lengths(self) -> Tensor:
        """(batch,) int32: the length of each sequence."""
        return self.cu_seqlens.diff()

    def sequence_of_token(self) -> Tensor:
        """(tokens,) int64: the index of the sequence that each token belongs to."""
        index = torch.arange(self.batch_size, device=self.values.device)
        return torch.repeat_interleave(index, self.lengths, output_size=self.values.numel())

    def positions(self) -> Tensor:
        """(tokens,) int64: the place of each token in its sequence, from 0."""
        return ops.token_positions(self.cu_seqlens, self.values.numel())

    def newest(self, max_length: int) -> PackedSequences:
        """Keep the newest (last) max_length tokens of each sequence."""
        if self.max_seqlen <= max_length:
            return self
        remaining = self.lengths.long()[self.sequence_of_token()] - self.positions()
        return self.from_lengths(
            self.values[remaining <= max_length], self.lengths.clamp(max=max_length)
        )

    def fill(self, tokens: int, sequences: int, max_seqlen: int) -> PackedSequences:
        """Bring the batch to exactly so many tokens and sequences, with sequences of padding (0),
        so that all batches have one shape.

        A model computes them and no loss reads them. max_seqlen: of the result, and of the
        sequences of padding. Raises ValueError where the batch has more, or the sequences that
        remain cannot hold the tokens that remain.
        """
        used, here = self.values.numel(), self.batch_size
        if used > tokens or here > sequences or self.max_seqlen > max_seqlen:
            raise ValueError(
                f"the batch must have at most {tokens} tokens, {sequences} sequences and"
                f" {max_seqlen} tokens a sequence,"
                f" got {used}, {here} and {self.max_seqlen}"
            )
        if used + (sequences - here) * max_seqlen < tokens:
            raise ValueError(
                f"{tokens - used} tokens of padding need {-(-(tokens - used) // max_seqlen)}"
                f" sequences, got {sequences - here}"
            )
        ends = used + max_seqlen * torch.arange(
            1, sequences - here + 1, dtype=torch.int32, device=self.values.device
        )
        values = torch.cat((self.values, self.values.new_full((tokens - used,), PADDING_ID)))
        return PackedSequences(
            values, torch.cat((self.cu_seqlens, ends.clamp(max=tokens))), max_seqlen
        )

    def append(self, value: int) -> PackedSequences:
        """Put one more token, of this value, at the end of every sequence."""
        index = self.sequence_of_token() + torch.arange(
            self.values.numel(), device=self.values.device
        )
        values = self.values.new_full((self.values.numel() + self.batch_size,), value)
        values[index] = self.values
        ends = torch.arange(self.batch_size + 1, dtype=torch.int32, device=self.values.device)
        return PackedSequences(values, self.cu_seqlens + ends, self.max_seqlen + 1)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> PackedSequences:
        """The same sequences on another device."""
        return PackedSequences(
            self.values.to(device, non_blocking=non_blocking),
            self.cu_seqlens.to(device, non_blocking=non_blocking),
            self.max_seqlen,
        )

    def to_lists(self) -> list[list[int]]:
        """One Python list per sequence."""
        return [part.tolist() for part in torch.split(self.values, self.lengths.tolist())]


def _item_ids(sequence: Sequence[int], place: int) -> Tensor:
    """(length,) int64, as from_lists takes one."""
    try:
        ids = torch.as_tensor(sequence)
    except (TypeError, ValueError, RuntimeError):
        ids = torch.empty(())  # no list of anything
    if ids.dim() != 1 or not (_of_integers(ids) or ids.numel() == 0):
        raise ValueError(
            "sequences must be lists of integers, one for each user, as [[3, 7], [5]];"
            f" sequence {place} is {reprlib.repr(sequence)}"
        )
    return ids.long()


def _of_integers(tensor: Tensor) -> bool:
    return not (tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool)
