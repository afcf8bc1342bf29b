"""RecTools' BERT4Rec, trained by its own fit."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytorch_lightning
import torch
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import BERT4RecModel
from torch import Tensor

from b4r_fast.data import LeaveOneOut
from b4r_fast.evaluation import Ranker
from b4r_fast.packed import PackedSequences

from .contender import Clock, Size, left_padded, newest_items, trainer

MASK = 1  # of its tokens; 0 is padding, items follow
NEVER_SEEN = -1e9  # the score of an item that training has none of


class Contender:
    def __init__(self, split: LeaveOneOut, size: Size) -> None:
        packed = split.train.pack()
        actions = {
            Columns.User: packed.sequence_of_token().numpy(),
            Columns.Item: packed.values.numpy(),
            Columns.Weight: 1.0,
            Columns.Datetime: pd.to_datetime(packed.positions().numpy(), unit="s"),
        }
        self.dataset = Dataset.construct(pd.DataFrame(actions))
        self.num_items, self.length = split.train.num_items, size.max_length
        self.model = BERT4RecModel(
            n_blocks=size.num_layers,
            n_heads=size.num_heads,
            n_factors=size.hidden_size,
            session_max_len=size.max_length,
            mask_prob=size.mask_prob,
        )

    @property
    def network(self) -> torch.nn.Module:
        return self.model.torch_model

    def train(self, clock: Clock) -> None:
        self.model._trainer = trainer(pytorch_lightning, clock)
        self.model.fit(self.dataset)

    @torch.no_grad()
    def ranker(self) -> Ranker:
        known = self.model.data_preparator.get_known_item_ids().astype(np.int64)
        tokens = np.zeros(self.num_items + 1, np.int64)
        tokens[known] = MASK + 1 + np.arange(len(known))
        network = self.model.torch_model
        vectors = network.item_model.get_all_embeddings()

        @torch.no_grad()
        def encode(histories: PackedSequences) -> Tensor:
            rows = [tokens[row] for row in newest_items(histories, self.length)]
            rows = [np.append(row[row != 0], MASK) for row in rows]
            encoded = network.encode_sessions({"x": left_padded(rows, self.length)}, vectors)
            return encoded[:, -1].contiguous()

        bias = torch.zeros(self.num_items)
        bias[torch.from_numpy(tokens[1:] == 0)] = NEVER_SEEN
        return Ranker(encode, vectors[torch.from_numpy(tokens[1:])], bias)
