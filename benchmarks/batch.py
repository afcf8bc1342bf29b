"""A Cloze batch in a form that any peer can read: it needs torch alone, as b4r_fast is not
installed in the peers' environments.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

IGNORED = -100


@dataclass(frozen=True)
class Batch:
    """A packed batch: sequence b owns tokens cu_seqlens[b] to cu_seqlens[b + 1] - 1.

    values: (tokens,) int64 item ids 1 to num_items, num_items + 1 where an item is hidden. labels:
    (tokens,), the hidden item, else -100. max_length: of the model. source: where the sequences
    come from, in words.
    """

    values: Tensor
    cu_seqlens: Tensor
    labels: Tensor
    num_items: int
    max_length: int
    source: str

    def __len__(self) -> int:
        return self.cu_seqlens.numel() - 1

    @property
    def lengths(self) -> Tensor:
        return self.cu_seqlens.diff().long()

    @property
    def longest(self) -> int:
        return int(self.lengths.max())

    @property
    def mask_id(self) -> int:
        return self.num_items + 1

    def sequence_of_token(self) -> Tensor:
        return torch.repeat_interleave(torch.arange(len(self)), self.lengths)

    def positions(self) -> Tensor:
        """(tokens,): the place of each token in its sequence, from 0."""
        return (
            torch.arange(self.values.numel())
            - self.cu_seqlens[:-1].long()[self.sequence_of_token()]
        )

    def hidden_of_sequence(self) -> Tensor:
        """(batch,): how many tokens of each sequence are hidden."""
        return torch.bincount(self.sequence_of_token()[self.labels != IGNORED], minlength=len(self))

    def pad(
        self, tokens: Tensor, fill: int, *, length: int | None = None, left: bool = False
    ) -> Tensor:
        """(tokens,) -> (batch, length), by default the longest sequence's, padded on the right or
        on the left.
        """
        length = length or self.longest
        sequence = self.sequence_of_token()
        place = self.positions() + (length - self.lengths)[sequence] if left else self.positions()
        padded = torch.full((len(self), length), fill, dtype=tokens.dtype)
        padded[sequence, place] = tokens
        return padded

    def histories(self) -> Tensor:
        """(tokens,): the items with nothing hidden."""
        return torch.where(self.labels == IGNORED, self.values, self.labels)

    def head(self, sequences: int) -> Batch:
        """The first sequences alone: what warms a peer up without the memory of the whole batch."""
        end = int(self.cu_seqlens[sequences])
        return Batch(
            self.values[:end],
            self.cu_seqlens[: sequences + 1],
            self.labels[:end],
            self.num_items,
            self.max_length,
            self.source,
        )

    def asking(self) -> Batch:
        """The histories with [MASK] at the end, as the model sees them when it recommends: the
        newest max_length - 1 items, all visible.
        """
        newest = (self.lengths[self.sequence_of_token()] - self.positions()) < self.max_length
        rows = [
            torch.cat((row, torch.tensor([self.mask_id])))
            for row in self.histories()[newest].split(
                self.lengths.clamp(max=self.max_length - 1).tolist()
            )
        ]
        values = torch.cat(rows)
        cu_seqlens = torch.tensor([0, *map(len, rows)]).cumsum(0).int()
        labels = torch.full_like(values, IGNORED).index_fill(0, cu_seqlens[1:].long() - 1, 1)
        return Batch(values, cu_seqlens, labels, self.num_items, self.max_length, self.source)

    def to(self, device: str) -> Batch:
        return replace(
            self,
            values=self.values.to(device),
            cu_seqlens=self.cu_seqlens.to(device),
            labels=self.labels.to(device),
        )

    def save(self, path: Path) -> None:
        torch.save(vars(self), path)

    @classmethod
    def load(cls, path: str | Path) -> Batch:
        return cls(**torch.load(path, weights_only=True))
