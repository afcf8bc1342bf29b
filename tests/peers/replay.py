"""RePlay's Bert4Rec."""

from __future__ import annotations

from pathlib import Path

import lightning
import pandas as pd
import torch
from replay.data import FeatureHint, FeatureType
from replay.data.nn import PandasSequentialDataset, TensorFeatureInfo, TensorSchema
from replay.models.nn.sequential import Bert4Rec
from replay.models.nn.sequential.bert4rec import Bert4RecPredictionDataset, Bert4RecTrainingDataset
from torch.utils.data import DataLoader

from .log import Size, Watch

ITEM, USER = "item_id", "user_id"


class Peer:
    tied = True

    def __init__(self, log: list[list[str]], size: Size) -> None:
        self.length, self.watch = size.length, Watch()
        self.items = sorted({item for history in log for item in history})
        self.schema = TensorSchema(
            [
                TensorFeatureInfo(
                    ITEM,
                    feature_type=FeatureType.CATEGORICAL,
                    is_seq=True,
                    feature_hint=FeatureHint.ITEM_ID,
                    cardinality=len(self.items),
                    embedding_dim=size.hidden,
                )
            ]
        )
        self.model = Bert4Rec(
            self.schema,
            block_count=2,
            head_count=size.heads,
            hidden_size=size.hidden,
            max_seq_len=size.length,
            dropout_rate=size.dropout,
            enable_embedding_tying=self.tied,
        )
        self.trainer = self.watch.trainer(lightning, size.epochs)
        batches = Bert4RecTrainingDataset(self.dataset(log), size.length, mask_prob=0.4)
        self.trainer.fit(self.model, DataLoader(batches, batch_size=size.batch))
        self.model.eval()

    def dataset(self, histories: list[list[str]]) -> PandasSequentialDataset:
        rows = [[self.items.index(item) for item in history] for history in histories]
        frame = pd.DataFrame({USER: range(len(rows)), ITEM: rows})
        return PandasSequentialDataset(self.schema, USER, ITEM, frame)

    def save(self, folder: Path) -> Path:
        file = folder / "replay.ckpt"
        self.trainer.save_checkpoint(file)
        return file

    @torch.no_grad()
    def scores(self, histories: list[list[str]], items: list[str]) -> torch.Tensor:
        shown = Bert4RecPredictionDataset(self.dataset(histories), self.length)
        (batch,) = DataLoader(shown, batch_size=len(histories))
        return self.model.predict_step(batch, 0)[:, [self.items.index(item) for item in items]]
