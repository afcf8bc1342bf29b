"""Transformers' BertForMaskedLM, with the vocabulary that its tokenizers save beside it."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import BertConfig, BertForMaskedLM

from .log import Size, Watch

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


class Peer:
    def __init__(self, log: list[list[str]], size: Size) -> None:
        self.length, self.watch = size.length, Watch()
        items = sorted({item for history in log for item in history})
        self.tokens = [*SPECIAL, *items]
        self.model = BertForMaskedLM(
            BertConfig(
                vocab_size=len(self.tokens),
                hidden_size=size.hidden,
                num_hidden_layers=2,
                num_attention_heads=size.heads,
                intermediate_size=4 * size.hidden,
                max_position_embeddings=size.length,
                initializer_range=0.2,
                hidden_dropout_prob=size.dropout,
                attention_probs_dropout_prob=size.dropout,
            )
        )
        optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.05)
        for _ in range(size.epochs):
            for start in range(0, len(log), size.batch):
                inputs, _ = self.padded(log[start : start + size.batch])
                ids = inputs["input_ids"]
                hidden = (torch.rand(ids.shape) < 0.4) & (ids >= len(SPECIAL))
                labels = ids.masked_fill(~hidden, -100)
                inputs["input_ids"] = ids.masked_fill(hidden, SPECIAL.index("[MASK]"))
                self.watch.start()
                loss = self.model(**inputs, labels=labels).loss
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
                self.watch.stop(loss.item())
        self.model.eval()

    def padded(self, histories: list[list[str]]) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """With [MASK] behind each, and its place."""
        ids = torch.zeros(len(histories), self.length, dtype=torch.int64)
        places = torch.tensor([min(len(history), self.length - 1) for history in histories])
        for row, history, place in zip(ids, histories, places.tolist()):
            shown = [*history[-self.length + 1 :], "[MASK]"]
            row[: place + 1] = torch.tensor([self.tokens.index(token) for token in shown])
        return {"input_ids": ids, "attention_mask": (ids != 0).long()}, places

    def save(self, folder: Path) -> Path:
        self.model.save_pretrained(folder)
        (folder / "vocab.txt").write_text("\n".join(self.tokens) + "\n")
        return folder / "model.safetensors"

    @torch.no_grad()
    def scores(self, histories: list[list[str]], items: list[str]) -> torch.Tensor:
        inputs, places = self.padded(histories)
        logits = self.model(**inputs).logits[torch.arange(len(places)), places]
        return logits[:, [self.tokens.index(item) for item in items]]
