"""A training step whose shapes never change: on a GPU it is recorded once and replayed, one launch
for all of its kernels.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from . import ops
from .backends import backends, holds
from .model import BERT4Rec
from .packed import PackedSequences

# Added to both seeds before every step: odd, so that 2^64 steps have seeds of their own, and no
# small multiple of the model's SEED_STEP, by which the seeds of one step are apart. From the
# multiplier of xorshift64* (Vigna 2016).
NEXT_STEP = 0x2545F4914F6CDD1D
# steps before the recording, in which kernels are compiled, libraries and the optimizer set up
WARM_UP = 3


class CapturedStep:
    """Cloze masks, negatives, forward, backward and optimizer of one batch, all on the model's
    device; nothing is read back.

    model: in training mode. optimizer: over its parameters; for a GPU made with capturable=True,
    and with a tensor as lr if that is to change. tokens, sequences: what a batch has at most;
    smaller ones are filled up with padding that is computed and not read. mask_prob, last_only: as
    in ops.cloze_mask. rows: tokens that the last layer computes, those with a label among them;
    None leaves room for six deviations more than are expected. max_norm: of all gradients together,
    None for no limit. seed: all masks, dropout and negatives follow from it.

    On a GPU the first WARM_UP calls run as they are, the next is recorded, and each from then on
    replays the recording with its own batch and seeds. Weights and gradients stay where they are in
    memory; do not replace them. Raises ValueError for a model or optimizer that cannot be recorded,
    and for a batch that is too large.
    """

    def __init__(
        self,
        model: BERT4Rec,
        optimizer: torch.optim.Optimizer,
        *,
        tokens: int,
        sequences: int,
        mask_prob: float,
        last_only: float = 0.0,
        rows: int | None = None,
        max_norm: float | None = None,
        seed: int = 0,
    ) -> None:
        device, self.max_length = model.item_embedding.weight.device, model.config.max_length
        if device.type != "cpu":
            _check_capturable(model, optimizer)
        self.model, self.optimizer, self.max_norm = model, optimizer, max_norm
        self.mask_prob, self.last_only = mask_prob, last_only
        expected = (
            mask_prob * tokens + sequences + 6 * math.sqrt(tokens * mask_prob * (1 - mask_prob))
        )
        self.rows = min(tokens, math.ceil(expected)) if rows is None else rows
        self.tokens, self.sequences = tokens, sequences + -(-tokens // self.max_length)
        self.batch = (
            PackedSequences.from_lists([])
            .fill(self.tokens, self.sequences, self.max_length)
            .to(device)
        )
        self.seeds = torch.from_numpy(
            np.random.SeedSequence(seed).generate_state(2, np.uint64).view(np.int64)
        ).to(device)
        # The loss's gradient, which autograd would fill in at every step.
        self.one = torch.ones((), device=device)
        self.steps, self.loss = 0, torch.empty(())
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, batch: PackedSequences) -> Tensor:
        """Train on a batch of items, none hidden yet. Returns the loss, a scalar on the device that
        the next step overwrites.
        """
        filled = batch.fill(self.tokens, self.sequences, self.max_length)
        self.batch.values.copy_(filled.values, non_blocking=True)
        self.batch.cu_seqlens.copy_(filled.cu_seqlens, non_blocking=True)
        if self.graph is not None:
            self.graph.replay()
        elif self.batch.values.device.type == "cpu":
            self.loss = self._step()
        elif self.steps < WARM_UP:
            self.loss = self._warm_up()
        else:
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):
                self.loss = self._step()
            self.graph.replay()
        self.steps += 1
        return self.loss

    def _step(self) -> Tensor:
        self.optimizer.zero_grad(set_to_none=True)
        mask_seed, step_seed = self.seeds.add_(NEXT_STEP).unbind()
        inputs, labels = ops.cloze_mask(
            self.batch.values,
            self.batch.cu_seqlens,
            mask_prob=self.mask_prob,
            last_only=self.last_only,
            mask_id=self.model.config.mask_id,
            seed=mask_seed,
        )
        hidden = PackedSequences(inputs, self.batch.cu_seqlens, self.max_length)
        loss = self.model(hidden, labels, seed=step_seed, rows=self.rows).loss
        assert loss is not None
        loss.backward(self.one)
        if self.max_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.max_norm, foreach=True)
        self.optimizer.step()
        return loss.detach()

    def _warm_up(self) -> Tensor:
        """A step on a stream of its own, as what is recorded must not depend on the
        default stream.
        """
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            loss = self._step()
        torch.cuda.current_stream().wait_stream(stream)
        return loss


def _check_capturable(model: BERT4Rec, optimizer: torch.optim.Optimizer) -> None:
    if model.config.sparse_gradients:
        raise ValueError(
            "a model with sparse_gradients cannot be recorded: how many rows a step names is read"
            " back; use dense gradients"
        )
    if (triton := backends()["triton"]).startswith("not"):
        raise ValueError(
            "a step is recorded with the Triton kernels alone, as torch's operators read lengths"
            f" back; triton is {triton}"
        )
    columns, dtype = (
        model.config.hidden_size // model.config.num_heads,
        model.item_embedding.weight.dtype,
    )
    q = model.item_embedding.weight.new_empty(0, model.config.num_heads, columns)
    if not holds("triton", "attention_gradients", q, q):
        raise ValueError(
            f"heads of {columns} columns in {dtype} cannot be recorded: no kernel serves their"
            " attention, and torch's operators read the"
            " sequences' lengths back; use more heads, or a multiple of 16 up to 128 columns; in"
            " bf16 any number up to 128"
        )
    if not all(group.get("capturable") for group in optimizer.param_groups):
        raise ValueError(
            "optimizer must be made with capturable=True, as torch.optim.AdamW(..., fused=True,"
            " capturable=True)"
        )
