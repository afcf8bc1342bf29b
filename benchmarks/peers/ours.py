"""b4r_fast itself, on packed sequences; with sampled negatives the gradients of the item table are
rows, and so are its updates.
"""

from __future__ import annotations

import torch

from b4r_fast import BERT4Rec, BERT4RecConfig, CapturedStep, PackedSequences, RowwiseAdamW
from b4r_fast.captured_step import WARM_UP
from b4r_fast.version import VERSION

from ..batch import Batch
from ..workloads import packed
from .recommendation import K, Recommendation
from .training_step import TrainingStep


def model_of(work, *, sparse_gradients: bool = False) -> BERT4Rec:
    return BERT4Rec(
        BERT4RecConfig(
            num_items=work.num_items,
            max_length=work.max_length,
            hidden_size=work.hidden_size,
            num_layers=work.num_layers,
            num_heads=work.num_heads,
            hidden_dropout=work.dropout,
            attention_dropout=work.dropout,
            loss=work.loss,
            num_negatives=work.num_negatives,
            sparse_gradients=sparse_gradients,
        )
    )


class RecordedStep:
    """A step as CapturedStep takes it, on a GPU as one launch: Cloze masks with it, and no parts to
    time. load() warms up and records.
    """

    static_shapes = True

    def __init__(self, work) -> None:
        self.model, self.mask_prob, self.versions = (
            model_of(work).train(),
            work.mask_prob,
            f"b4r_fast {VERSION}",
        )
        capturable = self.model.item_embedding.weight.device.type == "cuda"
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=1e-4, fused=True, capturable=capturable
        )

    def load(self, batch: Batch) -> None:
        self.histories = PackedSequences(batch.histories(), batch.cu_seqlens, batch.longest)
        sizes = {"tokens": batch.values.numel(), "sequences": len(batch)}
        self.captured = CapturedStep(self.model, self.optimizer, mask_prob=self.mask_prob, **sizes)
        for _ in range(WARM_UP + 1):
            self.step()

    def step(self) -> None:
        self.captured(self.histories)


def build(work, recorded: bool = False) -> TrainingStep | RecordedStep:
    if recorded:
        return RecordedStep(work)
    model = model_of(work, sparse_gradients=work.loss == "sampled")

    def prepare(batch: Batch):
        inputs, labels = packed(batch), batch.labels
        return lambda: model(inputs, labels).loss

    return TrainingStep(model, prepare, f"b4r_fast {VERSION}", optimizer=RowwiseAdamW)


def build_recommendation(work) -> Recommendation:
    model = model_of(work).eval()

    def prepare(batch: Batch):
        histories = PackedSequences.from_lists(
            [row[:-1].tolist() for row in batch.values.split(batch.lengths.tolist())]
        )
        return lambda: model.recommend(histories, k=K, exclude_seen=False)

    return Recommendation(model, prepare, f"b4r_fast {VERSION}")
