"""The first R tokens with a label, and the first without one where those are fewer, in the order of
the tokens: index, targets, offsets.

A token with l labelled and u other tokens before it becomes row min(l, R) + min(u, spare), spare =
max(0, R less all labelled), if it is chosen: with a label if l < R, without one if u < spare.
labels: (T,) int64. A program a sequence, twice: it counts its labels; then it adds up the counts
before its own, and writes. 16 bytes read a token, 16 written a row.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..labels import IGNORED

BLOCK = 256
_IGNORED = tl.constexpr(IGNORED)


@triton.jit
def _count_kernel(p_labels, p_cu, p_counts, BLOCK: tl.constexpr):
    sequence = tl.program_id(0)
    begin, end = tl.load(p_cu + sequence), tl.load(p_cu + sequence + 1)
    count = tl.zeros((BLOCK,), tl.int32)
    for start in range(begin, end, BLOCK):
        tokens = start + tl.arange(0, BLOCK)
        count += (tl.load(p_labels + tokens, tokens < end, other=_IGNORED) != _IGNORED).to(tl.int32)
    tl.store(p_counts + sequence, tl.sum(count, 0))


@triton.jit(do_not_specialize=("sequences", "rows"))
def _select_kernel(
    p_labels, p_cu, p_counts, p_index, p_targets, p_cu_rows, sequences, rows, BLOCK: tl.constexpr
):
    sequence = tl.program_id(0)
    begin, end = tl.load(p_cu + sequence), tl.load(p_cu + sequence + 1)
    before = tl.zeros((BLOCK,), tl.int32)
    all_labelled = tl.zeros((BLOCK,), tl.int32)
    for start in range(0, sequences, BLOCK):
        other = start + tl.arange(0, BLOCK)
        count = tl.load(p_counts + other, other < sequences, other=0)
        all_labelled += count
        before += tl.where(other < sequence, count, 0)
    labelled = tl.sum(before, 0)
    spare = tl.maximum(rows - tl.sum(all_labelled, 0), 0)
    tl.store(p_cu_rows + sequence, tl.minimum(labelled, rows) + tl.minimum(begin - labelled, spare))
    if sequence == sequences - 1:
        tl.store(p_cu_rows + sequences, rows)
    for start in range(begin, end, BLOCK):
        tokens = start + tl.arange(0, BLOCK)
        label = tl.load(p_labels + tokens, tokens < end, other=_IGNORED)
        has_label = (label != _IGNORED).to(tl.int32)
        labelled_before = labelled + tl.cumsum(has_label, 0) - has_label
        others_before = tokens - labelled_before
        row = tl.minimum(labelled_before, rows) + tl.minimum(others_before, spare)
        chosen = (tokens < end) & tl.where(
            has_label != 0, labelled_before < rows, others_before < spare
        )
        tl.store(p_index + row, tokens.to(tl.int64), chosen)
        tl.store(p_targets + row, tl.where(has_label != 0, label - 1, label), chosen)
        labelled += tl.sum(has_label, 0)


def select_labelled(labels: Tensor, cu_seqlens: Tensor, rows: int) -> tuple[Tensor, Tensor, Tensor]:
    labels, cu_seqlens = labels.contiguous(), cu_seqlens.contiguous()
    sequences = cu_seqlens.shape[0] - 1
    index, targets = labels.new_empty(rows), labels.new_empty(rows)
    if not sequences:
        return index, targets, torch.zeros_like(cu_seqlens)
    cu_rows, counts = torch.empty_like(cu_seqlens), torch.empty_like(cu_seqlens)
    _count_kernel[(sequences,)](labels, cu_seqlens, counts, BLOCK=BLOCK)
    _select_kernel[(sequences,)](
        labels, cu_seqlens, counts, index, targets, cu_rows, sequences, rows, BLOCK=BLOCK
    )
    return index, targets, cu_rows


OPERATORS = (select_labelled,)
