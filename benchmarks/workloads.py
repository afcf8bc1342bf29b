"""What is measured: the shapes of the training step, and batches of real sequences for them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from b4r_fast import PackedSequences, ops
from b4r_fast.data import PreparedData, Sequences, prepare

from .batch import Batch

CHECKOUT = Path(__file__).resolve().parents[1]
CACHE = CHECKOUT / ".benchmarks" / "data"

# Lengths of the real sequences at 21 evenly spaced quantiles, for the stand-in where the data are
# absent; and their number of items.
LENGTHS = {
    "ml-1m": [
        18,
        23,
        27,
        32,
        37,
        44,
        51,
        60,
        70,
        81,
        96,
        109,
        126,
        148,
        173,
        207,
        253,
        309,
        400,
        556,
        2277,
    ],
    "beauty": [5, 5, 5, 5, 5, 5, 5, 6, 6, 6, 6, 7, 7, 8, 8, 9, 10, 12, 14, 20, 293],
}
NUM_ITEMS = {"ml-1m": 3416, "beauty": 54_542}


@dataclass(frozen=True)
class Work:
    """A model and a batch. num_items: of the catalogue, more than the data's where the shape asks
    for it. loss: "full" or "sampled".
    """

    name: str
    title: str
    data: str
    max_length: int
    mask_prob: float
    users: int = 256
    num_items: int = 0
    hidden_size: int = 64
    num_layers: int = 2
    num_heads: int = 2
    loss: str = "full"
    num_negatives: int = 1024
    dropout: float = 0.1


BEAUTY = {"data": "beauty", "max_length": 50, "mask_prob": 0.6}
WORKS = {
    work.name: work
    for work in (
        Work("ml-1m", "ML-1M", data="ml-1m", num_items=3416, max_length=200, mask_prob=0.2),
        Work("beauty", "Beauty", num_items=54_542, **BEAUTY),
        Work(
            "beauty-sampled", "Beauty, 1,024 negatives", num_items=54_542, loss="sampled", **BEAUTY
        ),
        Work(
            "million-sampled",
            "1 million items, 1,024 negatives",
            num_items=1_000_000,
            loss="sampled",
            **BEAUTY,
        ),
        Work(
            "ml-20m-shape",
            "d=256, 26,744 items",
            data="ml-1m",
            num_items=26_744,
            users=64,
            hidden_size=256,
            num_heads=8,
            max_length=200,
            mask_prob=0.2,
        ),
    )
}


def data_folder() -> Path:
    """Where the text files of sequences lie: B4R_BENCH_DATA, or shared/data beside the checkout."""
    return Path(os.environ.get("B4R_BENCH_DATA") or CHECKOUT.parent / "shared" / "data")


def sequences_of(data: str) -> tuple[Sequences, str]:
    """The histories of a data set and where they come from, in words; a stand-in of the same
    lengths where the data are absent.
    """
    source = data_folder() / f"{data}.txt.gz"
    if (source.parent / data / "statistics.json").is_file():
        return PreparedData.open(source.parent / data).sequences, f"{data}, real sequences"
    if not source.is_file():
        return (
            stand_in(data),
            f"{data} STAND-IN: random items in sequences of the real lengths, as the data are not"
            " here",
        )
    prepared = CACHE / data
    if PreparedData.read_statistics(prepared) is None:
        prepare(source, prepared)
    return PreparedData.open(prepared).sequences, f"{data}, real sequences"


def stand_in(data: str, users: int = 4096) -> Sequences:
    """Sequences with the lengths of the real ones, and items by Zipf's law."""
    generator = np.random.Generator(np.random.Philox(1))
    quantiles = LENGTHS[data]
    lengths = np.interp(
        generator.random(users), np.linspace(0, 1, len(quantiles)), quantiles
    ).astype(np.int64)
    num_items = NUM_ITEMS[data]
    values = (
        np.exp(generator.random(lengths.sum()) * np.log(num_items + 1))
        .astype(np.int32)
        .clip(1, num_items)
    )
    ends = np.cumsum(lengths)
    return Sequences(values, ends - lengths, ends, num_items)


def batch_of(work: Work, seed: int = 0) -> Batch:
    """Users at random, the newest items of each, some of them hidden. A catalogue larger than the
    data's spreads their items over it.
    """
    sequences, source = sequences_of(work.data)
    chosen = np.random.Generator(np.random.Philox(seed)).permutation(len(sequences))[: work.users]
    packed = sequences.select(chosen).pack().newest(work.max_length)
    items = packed.values * (work.num_items // sequences.num_items)
    values, labels = ops.cloze_mask(
        items,
        packed.cu_seqlens,
        mask_prob=work.mask_prob,
        last_only=0.0,
        mask_id=work.num_items + 1,
        seed=torch.tensor(seed),
    )
    return Batch(values, packed.cu_seqlens, labels, work.num_items, work.max_length, source)


def packed(batch: Batch) -> PackedSequences:
    return PackedSequences(batch.values, batch.cu_seqlens, batch.longest)
