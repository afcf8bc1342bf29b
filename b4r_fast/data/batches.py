"""Packed Cloze batches, each a pure function of (seed, epoch, step), built ahead in a background thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .. import ops
from ..packed import PackedSequences
from .sequences import Sequences

# Batches whose windows are sorted by length together: batches become even in length while their make-up stays random.
BUCKET_BATCHES = 16


@dataclass(frozen=True)
class ClozeBatch:
    """inputs: packed, [MASK] for hidden items. labels: (tokens,) int64, the hidden items, -100 elsewhere. seed: of the step's dropout."""

    inputs: PackedSequences
    labels: Tensor
    seed: Tensor


class ClozeBatches:
    """The training batches of every epoch; iterating yields those of the current epoch from the current step on, then moves to the next.

    sequences: what trains. max_length: longer histories become windows of that many items, window_stride apart (half of max_length when
    None), the newest always among them. batch_size: windows of a batch, or None; max_tokens: tokens of a batch at most, or None; one of the
    two must be given. mask_prob, last_only: as in ops.cloze_mask. seed: of order, masks and dropout. prefetch: batches built ahead.
    Raises ValueError for sizes that make no batch.
    """

    def __init__(
        self,
        sequences: Sequences,
        *,
        max_length: int,
        batch_size: int | None = 256,
        max_tokens: int | None = None,
        mask_prob: float,
        last_only: float = 0.0,
        seed: int = 0,
        window_stride: int | None = None,
        prefetch: int = 4,
    ) -> None:
        if batch_size is None and max_tokens is None:
            raise ValueError("one of batch_size and max_tokens must be given")
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        if max_tokens is not None and max_tokens < max_length:
            raise ValueError(f"max_tokens must be at least max_length, {max_length}, got {max_tokens}")
        stride = max(1, max_length // 2) if window_stride is None else window_stride
        if stride < 1:
            raise ValueError(f"window_stride must be at least 1, got {stride}")
        self.windows = cut_windows(sequences, max_length, stride)
        if len(self.windows) == 0:
            raise ValueError("there is no sequence to train on")
        self.batch_size, self.max_tokens = batch_size, max_tokens
        self.mask_prob, self.last_only, self.mask_id = mask_prob, last_only, sequences.num_items + 1
        self.seed, self.prefetch = seed, prefetch
        self.epoch, self.step = 0, 0
        self._plan: tuple[int, list[np.ndarray]] | None = None

    def __len__(self) -> int:
        """The number of batches of the current epoch."""
        return len(self._batches_of(self.epoch))

    def state_dict(self) -> dict[str, int]:
        """Which batch comes next: what the consumer got counts, not what was built ahead."""
        return {"epoch": self.epoch, "step": self.step}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.epoch, self.step = state["epoch"], state["step"]

    def batch(self, epoch: int, step: int) -> ClozeBatch:
        """The batch of one step."""
        words = np.random.SeedSequence((self.seed, epoch, step)).generate_state(2, np.uint64).view(np.int64)
        mask_seed, dropout_seed = (torch.tensor(int(word)) for word in words)
        packed = self.windows.select(self._batches_of(epoch)[step]).pack()
        inputs, labels = ops.cloze_mask(
            packed.values, packed.cu_seqlens, mask_prob=self.mask_prob, last_only=self.last_only, mask_id=self.mask_id, seed=mask_seed
        )
        return ClozeBatch(PackedSequences(inputs, packed.cu_seqlens, packed.max_seqlen), labels, dropout_seed)

    def __iter__(self) -> Iterator[ClozeBatch]:
        epoch, start, steps = self.epoch, self.step, len(self)
        ready: queue.Queue = queue.Queue(maxsize=self.prefetch)
        stop = threading.Event()

        def hand_over(item: ClozeBatch | BaseException) -> None:
            while not stop.is_set():
                try:
                    ready.put(item, timeout=0.1)
                    return
                except queue.Full:
                    continue

        def build() -> None:
            try:
                for step in range(start, steps):
                    if stop.is_set():
                        return
                    hand_over(self.batch(epoch, step))
            except BaseException as error:
                hand_over(error)

        thread = threading.Thread(target=build, name="cloze-batches", daemon=True)
        thread.start()
        try:
            for step in range(start, steps):
                item = ready.get()
                if isinstance(item, BaseException):
                    raise item
                # Before the batch is handed over: a consumer that knows the length never asks for one more.
                self.epoch, self.step = (epoch, step + 1) if step + 1 < steps else (epoch + 1, 0)
                yield item
        finally:
            stop.set()
            thread.join()

    def _batches_of(self, epoch: int) -> list[np.ndarray]:
        """The windows of each batch of an epoch."""
        plan = self._plan
        if plan is None or plan[0] != epoch:
            plan = self._plan = (epoch, self._make_plan(epoch))
        return plan[1]

    def _make_plan(self, epoch: int) -> list[np.ndarray]:
        generator = np.random.default_rng((self.seed, epoch))
        order = generator.permutation(len(self.windows))
        lengths = self.windows.lengths
        rows = self.batch_size or max(1, int(self.max_tokens / lengths.mean()))  # type: ignore[operator]
        batches = []
        for bucket in np.split(order, range(rows * BUCKET_BATCHES, len(order), rows * BUCKET_BATCHES)):
            batches += self._cut(bucket[np.argsort(lengths[bucket], kind="stable")], lengths)
        return [batches[i] for i in generator.permutation(len(batches))]

    def _cut(self, bucket: np.ndarray, lengths: np.ndarray) -> list[np.ndarray]:
        """Cut a sorted bucket into batches that keep within batch_size and max_tokens."""
        total = np.cumsum(lengths[bucket])
        cuts, start = [], 0
        while start < len(bucket):
            end = start + self.batch_size if self.batch_size else len(bucket)
            if self.max_tokens:
                before = total[start - 1] if start else 0
                end = min(end, int(np.searchsorted(total, before + self.max_tokens, side="right")))
            cuts.append(bucket[start:end])
            start = end
        return cuts


def cut_windows(sequences: Sequences, max_length: int, stride: int) -> Sequences:
    """Windows of at most max_length items over each sequence, ending at its end and every stride items before, the oldest item covered."""
    lengths = sequences.lengths
    count = np.where(lengths > max_length, 1 + -(-(lengths - max_length) // stride), np.minimum(lengths, 1))
    owner = np.repeat(np.arange(len(sequences)), count)
    place = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
    starts, ends = sequences.starts[owner], sequences.ends[owner]
    first = np.maximum(ends - max_length - place * stride, starts)
    return Sequences(sequences.values, first, np.minimum(first + max_length, ends), sequences.num_items)
