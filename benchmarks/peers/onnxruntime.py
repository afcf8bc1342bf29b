"""ONNX Runtime for inference: the model of pytorch.py, exported with the shapes of the batch,
checked against PyTorch's own answer.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnxruntime
import torch

from ..batch import Batch
from .pytorch import PyTorchBERT4Rec, padded_inputs
from .recommendation import Recommendation


class Recommend(torch.nn.Module):
    def __init__(self, model: PyTorchBERT4Rec) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids, real, rows):
        return self.model.recommend(ids, real, rows)


def build_recommendation(work) -> Recommendation:
    model = PyTorchBERT4Rec(
        work.num_items,
        work.max_length,
        work.hidden_size,
        work.num_layers,
        work.num_heads,
        work.dropout,
    ).eval()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()

    def prepare(batch: Batch):
        inputs, names = padded_inputs(batch), ("ids", "real", "rows")
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "model.onnx"
            torch.onnx.export(
                Recommend(model), inputs, file, input_names=names, dynamo=True, verbose=False
            )
            session = onnxruntime.InferenceSession(
                file, options, providers=["CPUExecutionProvider"]
            )
        feed = {name: tensor.numpy() for name, tensor in zip(names, inputs)}
        with torch.inference_mode():
            torch.testing.assert_close(
                torch.from_numpy(session.run(None, feed)[0]),
                model.recommend(*inputs)[0],
                rtol=1e-3,
                atol=1e-4,
            )
        return lambda: session.run(None, feed)

    return Recommendation(model, prepare, f"onnxruntime {onnxruntime.__version__}")
