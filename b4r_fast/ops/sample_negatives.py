"""Draw item rows as negatives, with the log of how often each is expected."""

from __future__ import annotations

import torch
from torch import Tensor

from .checks import check_choice, check_seed, check_tensors, readable
from .registration import define

SAMPLERS = ("log_uniform", "uniform", "popularity")


def _fake(shape, num_items, sampler, counts, seed):
    return seed.new_empty(shape), seed.new_empty(shape, dtype=torch.float32)


_sample_op = define(
    "sample_negatives(SymInt[] shape, SymInt num_items, str sampler, Tensor? counts, Tensor"
    " seed) -> (Tensor rows, Tensor log_q)",
    _fake,
    like="seed",
)


def sample_negatives(
    num_negatives: int | tuple[int, ...],
    num_items: int,
    *,
    sampler: str = "log_uniform",
    counts: Tensor | None = None,
    seed: Tensor | None = None,
    device: torch.device | str | None = None,
) -> tuple[Tensor, Tensor]:
    """Draw rows of a table of num_items with replacement.

    num_negatives: K, or a shape such as (rows, K) for negatives of each row. sampler: "uniform";
    "popularity", in proportion to counts (num_items,) int64; or "log_uniform", row r with
    probability log((r + 2) / (r + 1)) / log(num_items + 1), for tables sorted by falling
    popularity. seed: int64 scalar tensor; None draws one from torch's generator. device: where to
    draw, when neither seed nor counts say. Returns the rows, int64, and log_q, float32, of that
    shape: the log of how often a row is expected among K draws, K the last size. Raises ValueError
    for an unknown sampler, absent or unusable counts, or sizes below 1.
    """
    shape = [num_negatives] if isinstance(num_negatives, int) else list(num_negatives)
    if not shape or min(shape) < 1:
        raise ValueError(f"num_negatives must be at least 1, got {num_negatives}")
    if num_items < 1:
        raise ValueError(f"num_items must be at least 1, got {num_items}")
    check_choice("sampler", sampler, SAMPLERS)
    if (counts is not None) != (sampler == "popularity"):
        raise ValueError(
            "counts must be given for sampler='popularity' and for no other, got"
            f" sampler={sampler!r}"
        )
    located = next((tensor for tensor in (seed, counts) if tensor is not None), None)
    seed = check_seed(seed, torch.device(device or "cpu") if located is None else located.device)
    if counts is not None:
        check_tensors(torch.int64, {"num_items": num_items}, seed, counts=(counts, "num_items"))
        if readable(counts) and (counts.min() < 0 or counts.sum() == 0):
            raise ValueError("counts must not be negative, and at least one must be positive")
    return _sample_op(shape, num_items, sampler, counts, seed)
