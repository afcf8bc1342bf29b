"""Transformers' BertForMaskedLM, with the vocabulary that its tokenizers save beside it."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import BertConfig, BertForMaskedLM

from .log import HIDDEN, LENGTH

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


class Peer:
    def __init__(self, log: list[list[str]]) -> None:
        items = sorted({item for history in log for item in history})
        self.tokens = [*SPECIAL, *items]
        self.model = BertForMaskedLM(
            BertConfig(
                vocab_size=len(self.tokens),
                hidden_size=HIDDEN,
                num_hidden_layers=2,
                num_attention_heads=2,
                intermediate_size=4 * HIDDEN,
                max_position_embeddings=LENGTH,
                initializer_range=0.2,
            )
        )
        optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.05)
        inputs, places = self.padded([history[:-1] for history in log])
        labels = torch.full_like(inputs["input_ids"], -100)
        last = [self.tokens.index(history[-1]) for history in log]
        labels[torch.arange(len(log)), places] = torch.tensor(last)
        for _ in range(5):
            self.model(**inputs, labels=labels).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        self.model.eval()

    def padded(self, histories: list[list[str]]) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """With [MASK] behind each, and its place."""
        ids = torch.zeros(len(histories), LENGTH, dtype=torch.int64)
        places = torch.tensor([min(len(history), LENGTH - 1) for history in histories])
        for row, history, place in zip(ids, histories, places.tolist()):
            shown = [*history[-LENGTH + 1 :], "[MASK]"]
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
