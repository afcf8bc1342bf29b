"""Batches whose windows are drawn anew every epoch, with samples of the task at test time beside
them.

With windows that lie still the last item of a sequence, which is what a model is asked for, is one
of the same few in every epoch. Here any item of a history may end a window, and be the last.
"""

from __future__ import annotations

import numpy as np
import torch

from .. import ops
from ..packed import IGNORED_LABEL, PackedSequences
from .batches import Batches, ClozeBatch, check_sizes
from .sequences import Sequences


class DrawnBatches(Batches):
    """An epoch has one window for every max_length items of a history, and one at least, drawn
    anew. In a batch they come with samples that hide their last item alone.

    sequences: what trains; histories of one item are left out, if there are longer ones.
    batch_size: windows of a batch. mask_prob: share of hidden items, between (least, most) another
    one for each batch. random_ends: share of the windows that end anywhere; of the others one ends
    where its history does. shortest_window: windows are from so many items to max_length long,
    log-uniformly; None: as long as they can be. grow_epochs: over so many epochs windows as long as
    they can be take the place of those. last_items: samples of a batch that hide their last item
    alone; each is a history up to any of its items, over a window of drawn length.
    last_item_weight: what they count in the loss together, the windows together counting 1.
    last_items_from: how many epochs go before them. seed: of all that is drawn, and of dropout.
    Raises ValueError for sizes that make no batch.
    """

    def __init__(
        self,
        sequences: Sequences,
        *,
        max_length: int,
        batch_size: int,
        mask_prob: tuple[float, float],
        random_ends: float = 0.5,
        shortest_window: int | None = None,
        grow_epochs: int = 0,
        last_items: int = 0,
        last_item_weight: float = 1.0,
        last_items_from: int = 0,
        seed: int = 0,
        prefetch: int = 4,
    ) -> None:
        check_sizes(max_length=max_length, batch_size=batch_size, shortest_window=shortest_window)
        for share in (*mask_prob, random_ends):
            if not 0.0 <= share <= 1.0:
                raise ValueError(f"shares of items and windows must lie in [0, 1], got {share}")
        least = min(2, int(sequences.lengths.max(initial=0)))
        if least == 0:
            raise ValueError("there is no sequence to train on")
        self.histories = sequences.select(np.flatnonzero(sequences.lengths >= least))
        self.max_length, self.mask_id = max_length, sequences.num_items + 1
        self.mask_prob, self.random_ends = mask_prob, random_ends
        self.shortest = min(shortest_window or max_length, max_length)
        self.grow_epochs = grow_epochs
        self.last_items, self.last_item_weight = last_items, last_item_weight
        self.last_items_from = last_items_from
        count = -(-self.histories.lengths // max_length)
        self._owner = np.repeat(np.arange(len(self.histories)), count)
        self._newest = np.diff(self._owner, prepend=-1) != 0
        steps = -(-len(self._owner) // batch_size)
        super().__init__(steps=steps, seed=seed, prefetch=prefetch)

    def batch(self, epoch: int, step: int) -> ClozeBatch:
        """The batch of one step."""
        mask_seed, dropout_seed = self.seeds(epoch, step)
        windows, samples, shares = self.plan_of(epoch)
        of_step = [
            part.select(
                np.arange(len(part) * step // len(self), len(part) * (step + 1) // len(self))
            )
            for part in (windows, samples)
        ]
        count, tokens = len(of_step[0]), int(of_step[0].lengths.sum())
        packed = _joined(*of_step).pack()
        inputs, labels = ops.cloze_mask(
            packed.values[:tokens],
            packed.cu_seqlens[: count + 1],
            mask_prob=shares[step],
            mask_id=self.mask_id,
            seed=mask_seed,
        )
        last = packed.cu_seqlens[count + 1 :].long() - 1
        inputs = torch.cat((inputs, packed.values[tokens:]))
        labels = torch.cat((labels, torch.full_like(packed.values[tokens:], IGNORED_LABEL)))
        inputs[last], labels[last] = self.mask_id, packed.values[last]
        weights = None
        if len(last):
            hidden = (labels != IGNORED_LABEL).sum() - len(last)
            weights = torch.ones(len(labels))
            weights[last] = self.last_item_weight * hidden / len(last)
        batch = PackedSequences(inputs, packed.cu_seqlens, packed.max_seqlen)
        return ClozeBatch(batch, labels, dropout_seed, weights)

    def make_plan(
        self, epoch: int, generator: np.random.Generator
    ) -> tuple[Sequences, Sequences, list[float]]:
        """The windows and the samples in the order of the batches, and the share of hidden items of
        each batch.
        """
        order = generator.permutation(len(self._owner))
        full = min(1.0, epoch / self.grow_epochs) if self.grow_epochs else 0.0
        windows = self._windows(self._owner[order], self._newest[order], full, generator)
        samples = self._samples(epoch, generator)
        return windows, samples, generator.uniform(*self.mask_prob, len(self)).tolist()

    def _windows(
        self, owner: np.ndarray, newest: np.ndarray, full: float, generator: np.random.Generator
    ) -> Sequences:
        """Of each owner one; full: share of those that are as long as they can be."""
        length = self.histories.lengths[owner]
        anywhere = generator.random(len(owner)) < self.random_ends
        begun = np.minimum(2, length)
        least = np.where(
            anywhere, begun, np.where(newest, length, np.minimum(self.max_length, length))
        )
        end = generator.integers(least, length + 1)
        longest = self._longest(len(owner), generator)
        longest[generator.random(len(owner)) < full] = self.max_length
        return self._cut(owner, end, longest)

    def _samples(self, epoch: int, generator: np.random.Generator) -> Sequences:
        """Histories up to any of their items from the second on, every history as often."""
        count = len(self) * self.last_items if epoch >= self.last_items_from else 0
        histories = len(self.histories)
        rounds = [generator.permutation(histories) for _ in range(-(-count // histories))]
        owner = np.concatenate(rounds)[:count] if rounds else np.empty(0, np.int64)
        length = self.histories.lengths[owner]
        end = generator.integers(np.minimum(2, length), length + 1)
        return self._cut(owner, end, self._longest(count, generator))

    def _longest(self, count: int, generator: np.random.Generator) -> np.ndarray:
        """How many items a window has at most, log-uniform."""
        drawn = np.exp(generator.uniform(np.log(self.shortest), np.log(self.max_length), count))
        return np.round(drawn).astype(np.int64)

    def _cut(self, owner: np.ndarray, end: np.ndarray, longest: np.ndarray) -> Sequences:
        """The last items before `end` of each owner's history."""
        ends = self.histories.starts[owner] + end
        starts = ends - np.minimum(end, longest)
        return Sequences(self.histories.values, starts, ends, self.histories.num_items)


def _joined(first: Sequences, second: Sequences) -> Sequences:
    """Of the same values."""
    starts, ends = (
        np.concatenate((getattr(first, name), getattr(second, name))) for name in ("starts", "ends")
    )
    return Sequences(first.values, starts, ends, first.num_items)
