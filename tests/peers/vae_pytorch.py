"""BERT4Rec-VAE-Pytorch, which is no package: PYTHONPATH has a clone of it."""

from __future__ import annotations

import json
import pickle
from argparse import Namespace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from models.bert import BERTModel
from torch.utils.data import DataLoader, TensorDataset
from trainers.bert import BERTTrainer

from .log import Size, Watch


class Peer:
    def __init__(self, log: list[list[str]], size: Size) -> None:
        self.length, self.watch = size.length, Watch()
        items = sorted({item for history in log for item in history})
        self.numbers = {item: number for number, item in enumerate(items, 1)}
        self.mask = len(items) + 1
        self.settings = Namespace(
            model_init_seed=0,
            bert_max_len=size.length,
            num_items=len(items),
            bert_num_blocks=2,
            bert_num_heads=size.heads,
            bert_hidden_units=size.hidden,
            bert_dropout=size.dropout,
            device="cpu",
            num_gpu=1,
            optimizer="Adam",
            lr=0.01,
            weight_decay=0,
            enable_lr_schedule=False,
            num_epochs=size.epochs,
            train_batch_size=size.batch,
            metric_ks=[10],
            best_metric="NDCG@10",
            log_period_as_iter=10**9,
        )
        self.model = BERTModel(self.settings)
        ids = self.padded(log)
        hidden = (torch.rand(ids.shape) < 0.4) & (ids != 0)
        shown = TensorDataset(ids.masked_fill(hidden, self.mask), ids * hidden)
        candidates = torch.arange(1, self.mask).expand(len(ids), -1)
        held_out = TensorDataset(ids, candidates, (candidates == ids[:, -1:]).long())
        loader = DataLoader(shown, batch_size=size.batch)
        held_out_loader = DataLoader(held_out, batch_size=size.batch)
        self.folder = TemporaryDirectory()
        trainer = BERTTrainer(
            self.settings, self.model, loader, held_out_loader, None, self.folder.name
        )
        trainer.train()
        self.model.eval()

    def padded(self, histories: list[list[str]]) -> torch.Tensor:
        ids = torch.zeros(len(histories), self.length, dtype=torch.int64)
        for row, history in zip(ids, histories):
            newest = [self.numbers[item] for item in history[-self.length :]]
            row[self.length - len(newest) :] = torch.tensor(newest)
        return ids

    def save(self, folder: Path) -> Path:
        (folder / "models").mkdir(exist_ok=True)
        (folder / "config.json").write_text(json.dumps(vars(self.settings), indent=2))
        (folder / "dataset.pkl").write_bytes(pickle.dumps({"smap": self.numbers}))
        file = folder / "models" / "best_acc_model.pth"
        written = Path(self.folder.name) / "models" / "checkpoint-recent.pth.final"
        file.write_bytes(written.read_bytes())
        return file

    @torch.no_grad()
    def scores(self, histories: list[list[str]], items: list[str]) -> torch.Tensor:
        ids = self.padded([history[-self.length + 1 :] for history in histories])
        ids = torch.cat((ids[:, 1:], torch.full((len(ids), 1), self.mask)), 1)
        return self.model(ids)[:, -1, [self.numbers[item] for item in items]]
