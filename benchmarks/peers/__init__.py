"""The peers of the whole model: which module builds each, with which options, in which
environment.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .recommendation import Recommendation
from .training_step import TrainingStep

if TYPE_CHECKING:  # peers' environments have no b4r_fast
    from .ours import RecordedStep


@dataclass(frozen=True)
class Peer:
    """module: below this package, with build or build_recommendation(work, **options). environment:
    made by install.py, None is ours.

    on_gpu: whether it takes part there.
    """

    title: str
    module: str
    options: dict = field(default_factory=dict)
    environment: str | None = None
    on_gpu: bool = True


OURS = "b4r_fast"
TRAINING = {
    OURS: Peer("b4r_fast", "ours"),
    "recorded": Peer("b4r_fast, CapturedStep", "ours", {"recorded": True}),
    "eager": Peer("PyTorch eager", "pytorch"),
    "eager-unpadded": Peer("PyTorch eager, unpadded", "pytorch", {"unpadded": True}),
    "compile": Peer("torch.compile", "pytorch", {"compiled": True}),
    "compile-unpadded": Peer(
        "torch.compile, unpadded", "pytorch", {"compiled": True, "unpadded": True}
    ),
    "eager-full": Peer("PyTorch eager, full softmax", "pytorch", {"loss": "full"}),
    "huggingface": Peer("Hugging Face BertForMaskedLM", "huggingface"),
    "replay-restricted": Peer(
        "RePlay, CE_restricted", "replay", {"loss": "CE_restricted"}, "replay"
    ),
    "replay": Peer("RePlay, CE", "replay", {"loss": "CE"}, "replay"),
    "rectools": Peer("RecTools", "rectools", environment="rectools"),
    "recbole": Peer("RecBole", "recbole", environment="recbole"),
}
INFERENCE = {
    OURS: Peer("b4r_fast", "ours"),
    "eager": Peer("PyTorch eager", "pytorch"),
    "compile": Peer("torch.compile", "pytorch", {"compiled": True}),
    "onnxruntime": Peer("ONNX Runtime", "onnxruntime", environment="onnxruntime", on_gpu=False),
}


def _module(peer: Peer):
    return importlib.import_module(f".{peer.module}", __package__)


def build_training(name: str, work) -> TrainingStep | RecordedStep:
    return _module(TRAINING[name]).build(work, **TRAINING[name].options)


def build_recommendation(name: str, work) -> Recommendation:
    return _module(INFERENCE[name]).build_recommendation(work, **INFERENCE[name].options)
