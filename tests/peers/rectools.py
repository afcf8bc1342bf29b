"""RecTools' BERT4RecModel."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytorch_lightning
import torch
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import BERT4RecModel

from .log import Size, Watch

WATCH, EPOCHS = Watch(), 3  # of the trainer, which RecTools takes as a function without arguments


def trainer() -> pytorch_lightning.Trainer:
    return WATCH.trainer(pytorch_lightning, EPOCHS)


def dataset(histories: list[list[str]]) -> Dataset:
    rows = [
        (user, item, 1.0, pd.Timestamp(place, unit="D"))
        for user, history in enumerate(histories)
        for place, item in enumerate(history)
    ]
    columns = [Columns.User, Columns.Item, Columns.Weight, Columns.Datetime]
    return Dataset.construct(pd.DataFrame(rows, columns=columns))


class Peer:
    def __init__(self, log: list[list[str]], size: Size) -> None:
        global WATCH, EPOCHS
        self.watch = WATCH = Watch()
        EPOCHS = size.epochs
        self.model = BERT4RecModel(
            n_blocks=2,
            n_heads=size.heads,
            n_factors=size.hidden,
            session_max_len=size.length,
            dropout_rate=size.dropout,
            batch_size=size.batch,
            mask_prob=0.4,
            lr=0.05,
            get_trainer_func=trainer,
        )
        self.model.fit(dataset(log))

    def save(self, folder: Path) -> Path:
        file = folder / "rectools.ckpt"
        self.model.fit_trainer.save_checkpoint(file)
        return file

    def scores(self, histories: list[list[str]], items: list[str]) -> torch.Tensor:
        shown = dataset(histories)
        found = self.model.recommend(
            users=range(len(histories)), dataset=shown, k=len(items), filter_viewed=False
        )
        table = found.pivot(index=Columns.User, columns=Columns.Item, values=Columns.Score)
        return torch.from_numpy(table[items].to_numpy())
