"""RecBole's BERT4Rec, through its own configuration, data set and trainer."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

for alias, kind in {"bool8": bool, "float_": float, "complex_": complex, "unicode_": str}.items():
    setattr(np, alias, getattr(np, alias, kind))  # which RecBole reads, and numpy 2 has not

from recbole.config import Config  # noqa: E402
from recbole.data import create_dataset, data_preparation  # noqa: E402
from recbole.model.sequential_recommender import BERT4Rec  # noqa: E402
from recbole.trainer import Trainer  # noqa: E402

from .log import Size, Watch  # noqa: E402

NAME = "log"


class Peer:
    def __init__(self, log: list[list[str]], size: Size) -> None:
        self.length, self.watch = size.length, Watch()
        self.folder = TemporaryDirectory()
        data = Path(self.folder.name) / NAME
        data.mkdir()
        rows = [f"u{u}\t{i}\t{t}" for u, history in enumerate(log) for t, i in enumerate(history)]
        head = "user_id:token\titem_id:token\ttimestamp:float"
        (data / f"{NAME}.inter").write_text("\n".join([head, *rows]) + "\n")
        os.chdir(self.folder.name)  # where it writes its logs
        self.config = Config(
            model="BERT4Rec",
            dataset=NAME,
            config_dict={
                "data_path": self.folder.name,
                "checkpoint_dir": self.folder.name,
                "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
                "MAX_ITEM_LIST_LENGTH": size.length,
                "n_layers": 2,
                "n_heads": size.heads,
                "hidden_size": size.hidden,
                "inner_size": 4 * size.hidden,
                "hidden_dropout_prob": size.dropout,
                "attn_dropout_prob": size.dropout,
                "mask_ratio": 0.4,
                "loss_type": "CE",
                "train_neg_sample_args": None,
                "epochs": size.epochs,
                "train_batch_size": size.batch,
                "learning_rate": 0.05,
                "use_gpu": False,
                "state": "WARNING",
                "show_progress": False,
            },
        )
        self.data = create_dataset(self.config)
        train, valid, _ = data_preparation(self.config, self.data)
        self.model = BERT4Rec(self.config, train.dataset)
        self.trainer = Trainer(self.config, self.model)
        of_class = self.model.calculate_loss

        def watched(interaction):
            self.watch.start()
            loss = of_class(interaction)
            self.watch.stop(float(loss))
            return loss

        self.model.calculate_loss = watched
        self.trainer.fit(train, valid, saved=False, show_progress=False)
        self.model.eval()

    def save(self, folder: Path) -> Path:
        file = folder / "BERT4Rec.pth"
        self.trainer._save_checkpoint(1, verbose=False, saved_model_file=file)
        self.data.save()
        written = Path(self.folder.name) / f"{NAME}-dataset.pth"
        for saved in Path(self.folder.name).glob("*.pth"):
            if saved == written or "dataset" in saved.name.lower():
                (folder / "dataset.pth").write_bytes(saved.read_bytes())
        return file

    @torch.no_grad()
    def scores(self, histories: list[list[str]], items: list[str]) -> torch.Tensor:
        """Its inference drops the oldest item of every history: here it is one of no meaning."""
        numbers = self.data.field2token_id["item_id"]
        rows = [[1, *(numbers[item] for item in history)][-self.length :] for history in histories]
        ids = torch.zeros(len(rows), self.length, dtype=torch.int64)
        for line, row in zip(ids, rows):
            line[: len(row)] = torch.tensor(row)
        lengths = torch.tensor([len(row) for row in rows])
        scores = self.model.full_sort_predict(
            {self.model.ITEM_SEQ: ids, self.model.ITEM_SEQ_LEN: lengths}
        )
        return scores[:, [numbers[item] for item in items]]
