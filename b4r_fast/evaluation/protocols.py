"""Rank each user's held-out item: among all items, or among 100 sampled negatives.
docs/evaluation.md says what each protocol does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .. import ops
from ..data import LeaveOneOut, Sequences
from ..errors import InputError
from ..model import BERT4Rec
from ..packed import PackedSequences
from .metrics import NEVER
from .negatives import draw_negatives

PROTOCOLS = ("full", "pop100", "uni100")
USERS_AT_A_TIME = 256


@dataclass(frozen=True)
class Ranker:
    """Anything that scores items by a product: encode gives (batch, d) from histories, items
    (num_items, d), row r being item r + 1.
    """

    encode: Callable[[PackedSequences], Tensor]
    items: Tensor
    bias: Tensor | None = None

    @classmethod
    def of_model(cls, model: BERT4Rec, numbers: np.ndarray | None = None) -> Ranker:
        """numbers: (items of the data,) int64, the model's number of each, 0 where it has none:
        such an item is left out of histories and ranks last. None: they are numbered alike.
        """
        items = model.item_embeddings.detach()
        bias = None if model.output_bias is None else model.output_bias.detach()
        if numbers is None:
            return cls(model.encode, items, bias)
        ours = torch.from_numpy(numbers).to(items.device)
        known = ours > 0
        rows = (ours - 1).clamp(min=0)
        scores = items.new_zeros(len(ours)) if bias is None else bias[rows]

        def encode(histories: PackedSequences) -> Tensor:
            values = ours[histories.values - 1]
            kept = values > 0
            owner = histories.sequence_of_token()[kept]
            lengths = torch.bincount(owner, minlength=len(histories))
            return model.encode(PackedSequences.from_lengths(values[kept], lengths))

        return cls(encode, items[rows], scores.masked_fill(~known, -torch.inf))

    @classmethod
    def by_popularity(cls, counts: np.ndarray) -> Ranker:
        """Every user gets the items in the order of counts (num_items + 1,), entry 0 unused."""
        items = torch.from_numpy(counts[1:].astype(np.float32))[:, None]
        return cls(lambda histories: torch.ones(len(histories), 1), items)


def rank_held_out(
    ranker: Ranker,
    split: LeaveOneOut,
    stage: str,
    protocol: str = "full",
    *,
    exclude_seen: bool | None = True,
    seed: int = 0,
    progress: Callable[[int], None] = lambda users: None,
) -> np.ndarray:
    """(evaluated users,) int64: the rank of each user's held-out item, 1 the best; ties count
    against it.

    stage: "validation" or "test". protocol: "full", all items; "pop100" or "uni100", the item and
    100 negatives that the user never met, drawn by popularity or uniformly from `seed`.
    exclude_seen, of "full" alone: leave out the items of the history, as BERT4Rec.recommend does; a
    held-out item that is among them has the rank NEVER. None leaves out all of them but that item,
    as versions did before there was a choice. progress is called with the number of users done.
    Memory is bounded whatever the catalogue. Raises InputError for an unknown protocol, or a
    catalogue too small for it.
    """
    if protocol not in PROTOCOLS:
        raise InputError(f"`protocol` must be one of {', '.join(PROTOCOLS)}, got {protocol!r}")
    if seed < 0:
        raise InputError(f"`seed` must be at least 0, got {seed}")
    # Popularity is counted over all actions, as the authors' code does.
    weights = (
        split.sequences.counts()
        if protocol == "pop100"
        else np.ones(split.sequences.num_items + 1, np.int64)
    )
    weights[0] = 0
    ranks = np.empty(len(split.users), np.int64)
    for number, (place, users) in enumerate(in_parts(split.users)):
        histories = split.histories(stage, users)
        targets = torch.from_numpy(split.targets(stage, users))
        if protocol == "full":
            found = _rank_among_all(ranker, histories, targets, exclude_seen is not False)
            if exclude_seen:
                found[torch.from_numpy(split.repeats(stage, users)).to(found.device)] = NEVER
        else:
            generator = np.random.default_rng((seed, number))
            negatives = draw_negatives(split.sequences.select(users), weights, generator)
            found = _rank_among(ranker, histories, targets, torch.from_numpy(negatives))
        ranks[place : place + len(users)] = found.cpu().numpy()
        progress(len(users))
    return ranks


def in_parts(users: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Some users at a time, and where the first of them stands."""
    return (
        (place, users[place : place + USERS_AT_A_TIME])
        for place in range(0, len(users), USERS_AT_A_TIME)
    )


def _rank_among_all(
    ranker: Ranker, histories: Sequences, targets: Tensor, exclude_seen: bool
) -> Tensor:
    packed = histories.pack()
    hidden = ranker.encode(packed)
    seen = packed.to(hidden.device)
    return ops.rank(
        hidden,
        ranker.items,
        ranker.bias,
        targets.to(hidden.device) - 1,
        exclude=(seen.values - 1, seen.cu_seqlens) if exclude_seen else None,
    )


def _rank_among(ranker: Ranker, histories: Sequences, targets: Tensor, negatives: Tensor) -> Tensor:
    hidden = ranker.encode(histories.pack())
    rows = torch.cat([targets[:, None], negatives], 1).to(hidden.device) - 1
    scores = torch.einsum("nd,nkd->nk", hidden, ranker.items[rows])
    if ranker.bias is not None:
        scores = scores + ranker.bias[rows]
    return 1 + (~(scores[:, 1:] < scores[:, :1])).sum(1)
