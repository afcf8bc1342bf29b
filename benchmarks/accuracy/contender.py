"""What the accuracy of a peer is measured by: the same split, minutes and ranking as ours.

Runs in the peer's own environment, which has torch, numpy and safetensors beside it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from b4r_fast.data import LeaveOneOut, PreparedData, leave_one_out
from b4r_fast.evaluation import PROTOCOLS, Ranker, metrics_from_ranks, rank_held_out
from b4r_fast.packed import PackedSequences

PACKAGES = {"rectools": "rectools", "replay": "replay-rec"}  # of each peer


@dataclass(frozen=True)
class Size:
    """Of a model, ours and every peer's. The rest is each one's own default, but for what its file
    says.
    """

    max_length: int
    hidden_size: int
    num_heads: int
    mask_prob: float
    num_layers: int = 2


class Peer(Protocol):
    """network: what is trained. train: until the clock says that it is time. ranker: of the network
    as it is, which must be in evaluation mode.
    """

    @property
    def network(self) -> torch.nn.Module: ...

    def train(self, clock: Clock) -> None: ...

    def ranker(self) -> Ranker: ...


@dataclass
class Clock:
    """The minutes of training, without those of validation; every so many minutes it validates, and
    keeps the weights that were best.
    """

    peer: Peer
    split: LeaveOneOut
    minutes: float
    every: float
    tell: Callable[[dict], None]
    begun: float = 0.0
    paused: float = 0.0
    validated: float = 0.0
    best: tuple[float, dict[str, Tensor]] = (-1.0, {})

    def start(self) -> None:
        """Where the first step begins."""
        self.begun = time.monotonic()

    @property
    def now(self) -> float:
        return (time.monotonic() - self.begun - self.paused) / 60

    def is_over(self) -> bool:
        """Whether training ends; asked after every step."""
        now = self.now
        if now - self.validated >= self.every or now >= self.minutes:
            start = time.monotonic()
            self._validate(now)
            self.paused += time.monotonic() - start
            self.validated = now
        return now >= self.minutes

    def _validate(self, now: float) -> None:
        network = self.peer.network.eval()
        found = metrics_from_ranks(rank_held_out(self.peer.ranker(), self.split, "validation"))
        network.train()
        self.tell({"minutes": now, **found})
        if found["NDCG@10"] > self.best[0]:
            weights = {name: value.clone() for name, value in network.state_dict().items()}
            self.best = (found["NDCG@10"], weights)


def measure(
    name: str,
    folder: Path,
    size: Size,
    *,
    minutes: float,
    every: float,
    seed: int,
    tell: Callable[[dict], None],
) -> dict[str, dict[str, float]]:
    """Trains a peer on prepared data; the test metrics, by protocol, of its weights with the best
    validation, as of ours. tell: of each validation.
    """
    split = leave_one_out(PreparedData.open(folder).sequences)
    torch.manual_seed(seed)
    np.random.seed(seed)
    peer: Peer = import_module(f".{name}", __package__).Contender(split, size)
    clock = Clock(peer, split, minutes, every, tell)
    peer.train(clock)
    peer.network.load_state_dict(clock.best[1])
    peer.network.eval()
    ranker = peer.ranker()
    return {
        protocol: metrics_from_ranks(rank_held_out(ranker, split, "test", protocol))
        for protocol in PROTOCOLS
    }


def trainer(lightning: ModuleType, clock: Clock):
    """Lightning's, of the package that the peer takes it from, on the CPU as ours."""

    class Timed(lightning.Callback):  # type: ignore[name-defined]
        def on_train_start(self, *_) -> None:
            clock.start()

        def on_train_batch_end(self, trainer, *_) -> None:
            trainer.should_stop = clock.is_over()

    return lightning.Trainer(
        max_epochs=-1,
        accelerator="cpu",
        callbacks=[Timed()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def newest_items(histories: PackedSequences, length: int) -> list[np.ndarray]:
    """The newest items of each history, so many that one place is left."""
    ends = histories.cu_seqlens.numpy()
    values = histories.values.numpy()
    return [values[max(start, end - length + 1) : end] for start, end in pairwise(ends)]


def left_padded(rows: list[np.ndarray], length: int) -> Tensor:
    """(rows, length) int64, 0 where there is nothing."""
    out = torch.zeros(len(rows), length, dtype=torch.int64)
    for line, row in zip(out, rows):
        line[length - len(row) :] = torch.from_numpy(row)
    return out
