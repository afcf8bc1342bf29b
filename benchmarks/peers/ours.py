"""b4r_fast itself, on packed sequences; with sampled negatives the gradients of the item table are rows, and so are its updates."""

from __future__ import annotations

from b4r_fast import BERT4Rec, BERT4RecConfig, PackedSequences, RowwiseAdamW
from b4r_fast.version import VERSION

from ..batch import Batch
from ..workloads import packed
from .recommendation import K, Recommendation
from .training_step import TrainingStep


def model_of(work) -> BERT4Rec:
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
            sparse_gradients=work.loss == "sampled",
        )
    )


def build(work) -> TrainingStep:
    model = model_of(work)

    def prepare(batch: Batch):
        inputs, labels = packed(batch), batch.labels
        return lambda: model(inputs, labels).loss

    return TrainingStep(model, prepare, f"b4r_fast {VERSION}", optimizer=RowwiseAdamW)


def build_recommendation(work) -> Recommendation:
    model = model_of(work).eval()

    def prepare(batch: Batch):
        histories = PackedSequences.from_lists([row[:-1].tolist() for row in batch.values.split(batch.lengths.tolist())])
        return lambda: model.recommend(histories, k=K, exclude_seen=False)

    return Recommendation(model, prepare, f"b4r_fast {VERSION}")
