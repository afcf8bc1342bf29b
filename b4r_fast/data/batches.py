"""Packed Cloze batches, each a pure function of (seed, epoch, step), built ahead in a background
thread.

An epoch of ClozeBatches visits every window once: shuffle, sort by length within buckets of
BUCKET_BATCHES batches, cut evenly, shuffle the batches. The windows of a batch become alike in
length while its make-up stays random. Every epoch has the same number of batches, as schedules
need.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import ops
from ..errors import InputError
from ..packed import PackedSequences
from .sequences import Sequences

BUCKET_BATCHES = 16


@dataclass(frozen=True)
class ClozeBatch:
    """inputs: packed, [MASK] for hidden items. labels: (tokens,) int64, the hidden items, -100
    elsewhere. seed: of the step's dropout. weights: (tokens,) float32, what each label counts in
    the loss; None: 1.
    """

    inputs: PackedSequences
    labels: Tensor
    seed: Tensor
    weights: Tensor | None = None


class Batches:
    """Training batches of every epoch, each of them a function of (seed, epoch, step); iterating
    yields those of the current epoch from the current step on, then moves to the next.

    steps: batches of an epoch. prefetch: batches built ahead. A subclass has `batch`, and what it
    draws for a whole epoch in `make_plan`. Raises ValueError for a negative seed and where nothing
    is built ahead.
    """

    def __init__(self, *, steps: int, seed: int, prefetch: int) -> None:
        if seed < 0:
            raise ValueError(f"seed must be at least 0, got {seed}")
        check_sizes(prefetch=prefetch)
        self._steps, self.seed, self.prefetch = steps, seed, prefetch
        self.epoch, self.step = 0, 0
        self._plan: tuple[int, Any] | None = None

    def batch(self, epoch: int, step: int) -> ClozeBatch:
        """The batch of one step."""
        raise NotImplementedError

    def make_plan(self, epoch: int, generator: np.random.Generator) -> Any:
        """What the batches of an epoch have in common."""
        raise NotImplementedError

    def plan_of(self, epoch: int) -> Any:
        plan = self._plan
        if plan is None or plan[0] != epoch:
            words = np.random.SeedSequence((self.seed, epoch))
            generator = np.random.Generator(np.random.Philox(words))
            plan = self._plan = (epoch, self.make_plan(epoch, generator))
        return plan[1]

    def seeds(self, epoch: int, step: int) -> tuple[Tensor, Tensor]:
        """Of a step's masks and of its dropout."""
        words = np.random.SeedSequence((self.seed, epoch, step)).generate_state(2, np.uint64)
        masks, dropout = (torch.tensor(int(word)) for word in words.view(np.int64))
        return masks, dropout

    def __len__(self) -> int:
        """The number of batches of an epoch."""
        return self._steps

    def set_epoch(self, epoch: int) -> None:
        """Start an epoch; the one that is under way goes on where it is."""
        if epoch != self.epoch:
            self.epoch, self.step = epoch, 0

    def state_dict(self) -> dict[str, int]:
        """Which batch comes next: what the consumer got counts, not what was built ahead."""
        return {"epoch": self.epoch, "step": self.step}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Raises InputError for a step that no epoch has."""
        if not 0 <= state["step"] < len(self):
            raise InputError(
                f"the checkpoint stops at step {state['step']} of an epoch, which here has"
                f" {len(self)}: it is of other data"
            )
        self.epoch, self.step = state["epoch"], state["step"]

    def __iter__(self) -> Iterator[ClozeBatch]:
        epoch, steps = self.epoch, iter(range(self.step, len(self)))
        thread = _serial_thread()
        try:
            ahead = deque(
                (step, thread.submit(self.batch, epoch, step))
                for step in islice(steps, self.prefetch)
            )
            while ahead:
                step, future = ahead.popleft()
                batch = future.result()
                ahead.extend(
                    (later, thread.submit(self.batch, epoch, later)) for later in islice(steps, 1)
                )
                # Before the batch is handed over: a consumer that knows the length never asks for
                # one more.
                self.epoch, self.step = (
                    (epoch, step + 1) if step + 1 < len(self) else (epoch + 1, 0)
                )
                yield batch
        finally:
            thread.shutdown(cancel_futures=True)


def check_sizes(**sizes: int | None) -> None:
    """Raises ValueError for one below 1."""
    for name, size in sizes.items():
        if size is not None and size < 1:
            raise ValueError(f"{name} must be at least 1, got {size}")


class ClozeBatches(Batches):
    """Every window of every history once an epoch, the same windows in each.

    sequences: what trains. max_length: longer histories become windows of that many items,
    window_stride apart (half of max_length when None), the newest always among them. batch_size:
    windows of a batch, or None; max_tokens: tokens of a batch at most, or None; one of the two must
    be given, with both a batch keeps within both. mask_prob, last_only: as in ops.cloze_mask. seed:
    of order, masks and dropout. prefetch: batches built ahead. Raises ValueError for sizes that
    make no batch.
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
        stride = max(1, max_length // 2) if window_stride is None else window_stride
        check_sizes(max_length=max_length, batch_size=batch_size, window_stride=stride)
        if max_tokens is not None and max_tokens < 3 * max_length:
            raise ValueError(
                f"max_tokens must be at least 3 times max_length, {3 * max_length}, got"
                f" {max_tokens}"
            )
        self.windows = cut_windows(sequences, max_length, stride)
        if len(self.windows) == 0:
            raise ValueError("there is no sequence to train on")
        self.mask_prob, self.last_only, self.mask_id = mask_prob, last_only, sequences.num_items + 1
        self._share, steps = _shares(self.windows.lengths, batch_size, max_tokens)
        super().__init__(steps=steps, seed=seed, prefetch=prefetch)

    def batch(self, epoch: int, step: int) -> ClozeBatch:
        """The batch of one step."""
        mask_seed, dropout_seed = self.seeds(epoch, step)
        packed = self.windows.select(self.plan_of(epoch)[step]).pack()
        inputs, labels = ops.cloze_mask(
            packed.values,
            packed.cu_seqlens,
            mask_prob=self.mask_prob,
            last_only=self.last_only,
            mask_id=self.mask_id,
            seed=mask_seed,
        )
        return ClozeBatch(
            PackedSequences(inputs, packed.cu_seqlens, packed.max_seqlen), labels, dropout_seed
        )

    def make_plan(self, epoch: int, generator: np.random.Generator) -> list[np.ndarray]:
        """The windows of each batch."""
        order = generator.permutation(len(self.windows))
        bucket = np.arange(len(order)) // (BUCKET_BATCHES * -(-len(order) // self._steps))
        order = order[np.lexsort((self.windows.lengths[order], bucket))]
        begin = np.cumsum(self._share[order]) - self._share[order]
        batch = begin * self._steps // self._share.sum()
        batches = np.split(order, np.flatnonzero(np.diff(batch)) + 1)
        return [batches[i] for i in generator.permutation(len(batches))]


def _serial_thread() -> ThreadPoolExecutor:
    """One thread whose torch ops run on it alone: a second OpenMP team beside the consumer's would
    halve the consumer's speed.
    """
    threads = torch.get_num_threads()
    thread = ThreadPoolExecutor(1, "cloze-batches")
    thread.submit(
        torch.get_num_threads
    ).result()  # a thread's first use of it sets the default, so that comes before
    thread.submit(torch.set_num_threads, 1).result()
    torch.set_num_threads(threads)  # which the line above has made 1 for threads to come
    return thread


def _shares(
    lengths: np.ndarray, batch_size: int | None, max_tokens: int | None
) -> tuple[np.ndarray, int]:
    """(windows,) int64: what each window takes of a batch; and the number of batches that cutting
    the total evenly keeps within the limits.

    A batch of the windows that begin in one of n even parts of a total T holds less than T / n plus
    the largest share. n is such that this is no more than a full batch, whatever the order; and T /
    n is at least the largest share, so no part is empty.
    """
    longest = int(lengths.max())
    if max_tokens is None or (batch_size is not None and batch_size * longest <= max_tokens):
        shares, full = np.ones_like(lengths), batch_size or 1
    elif batch_size is None:
        shares, full = lengths, max_tokens
    else:
        shares, full = np.maximum(lengths * batch_size, max_tokens), batch_size * max_tokens
    return shares, -(-int(shares.sum()) // (full - int(shares.max()) + 1))


def cut_windows(sequences: Sequences, max_length: int, stride: int) -> Sequences:
    """Windows of at most max_length items over each sequence, ending at its end and every stride
    items before, the oldest item covered.

    An empty sequence gives none. The oldest window starts at the first item, as in the authors'
    gen_data_fin.py.
    """
    lengths = sequences.lengths
    count = np.where(
        lengths > max_length, 1 + -(-(lengths - max_length) // stride), np.minimum(lengths, 1)
    )
    owner = np.repeat(np.arange(len(sequences)), count)
    place = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
    starts, ends = sequences.starts[owner], sequences.ends[owner]
    first = np.maximum(ends - max_length - place * stride, starts)
    return Sequences(
        sequences.values, first, np.minimum(first + max_length, ends), sequences.num_items
    )
