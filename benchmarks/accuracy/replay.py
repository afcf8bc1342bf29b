"""RePlay's Bert4Rec on its own training data set, with its own optimizer; output tied to the
embedding as ours, and the softmax of the hidden items alone, which is as exact and faster.
"""

from __future__ import annotations

import lightning
import pandas as pd
import torch
from replay.data import FeatureHint, FeatureType
from replay.data.nn import PandasSequentialDataset, TensorFeatureInfo, TensorSchema
from replay.models.nn.sequential import Bert4Rec
from replay.models.nn.sequential.bert4rec import Bert4RecTrainingDataset
from torch import Tensor
from torch.utils.data import DataLoader

from b4r_fast.data import LeaveOneOut
from b4r_fast.evaluation import Ranker
from b4r_fast.packed import PackedSequences

from .contender import Clock, Size, left_padded, newest_items, trainer

ITEM, USER = "item_id", "user_id"
BATCH_SIZE = 128


class Contender:
    def __init__(self, split: LeaveOneOut, size: Size) -> None:
        schema = TensorSchema(
            [
                TensorFeatureInfo(
                    ITEM,
                    feature_type=FeatureType.CATEGORICAL,
                    is_seq=True,
                    feature_hint=FeatureHint.ITEM_ID,
                    cardinality=split.train.num_items,
                    embedding_dim=size.hidden_size,
                )
            ]
        )
        # Its items count from 0.
        histories = [row - 1 for row in newest_items(split.train.pack(), size.max_length + 1)]
        frame = pd.DataFrame({USER: range(len(histories)), ITEM: histories})
        actions = PandasSequentialDataset(schema, USER, ITEM, frame)
        self.data = Bert4RecTrainingDataset(actions, size.max_length, mask_prob=size.mask_prob)
        self.length = size.max_length
        self.model = Bert4Rec(
            schema,
            block_count=size.num_layers,
            head_count=size.num_heads,
            hidden_size=size.hidden_size,
            max_seq_len=size.max_length,
            enable_embedding_tying=True,
            loss_type="CE_restricted",
        )

    @property
    def network(self) -> torch.nn.Module:
        return self.model._model

    def train(self, clock: Clock) -> None:
        batches = DataLoader(self.data, batch_size=BATCH_SIZE, shuffle=True)
        trainer(lightning, clock).fit(self.model, batches)

    def ranker(self) -> Ranker:
        network = self.model._model

        @torch.no_grad()
        def encode(histories: PackedSequences) -> Tensor:
            rows = newest_items(histories, self.length)
            shown = torch.zeros(len(rows), self.length, dtype=torch.bool)
            for line, row in zip(shown, rows):
                line[self.length - 1 - len(row) : -1] = True
            real = shown.clone()
            real[:, -1] = True
            items = left_padded(rows, self.length - 1) - 1
            items = torch.nn.functional.pad(items.clamp(min=0), (0, 1))
            return network.get_query_embeddings({ITEM: items}, real, shown).contiguous()

        head = network._head
        return Ranker(encode, head.get_item_embeddings().detach(), head.get_bias().detach())
