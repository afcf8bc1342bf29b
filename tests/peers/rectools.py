"""RecTools' BERT4RecModel."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import torch
from pytorch_lightning import Trainer
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import BERT4RecModel

from .log import HIDDEN, LENGTH


def trainer() -> Trainer:
    return Trainer(
        max_epochs=3,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def dataset(histories: list[list[str]]) -> Dataset:
    rows = [
        (user, item, 1.0, pd.Timestamp(place, unit="D"))
        for user, history in enumerate(histories)
        for place, item in enumerate(history)
    ]
    columns = [Columns.User, Columns.Item, Columns.Weight, Columns.Datetime]
    return Dataset.construct(pd.DataFrame(rows, columns=columns))


class Peer:
    def __init__(self, log: list[list[str]]) -> None:
        self.model = BERT4RecModel(
            n_blocks=2,
            n_heads=2,
            n_factors=HIDDEN,
            session_max_len=LENGTH,
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
