"""A model that recommends, as a file that needs no b4r_fast."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import torch
from torch.export import Dim, ExportedProgram

from ..extras import require
from ..files import atomic_write
from ..model import BERT4Rec
from .dense import Recommendation


def to_torch(
    model: BERT4Rec, path: str | Path, k: int = 10, *, exclude_seen: bool = True
) -> ExportedProgram:
    """Write a program that torch.export.load reads and AOTInductor compiles, from
    `Recommendation`: histories (batch, length) in, ids and scores (batch, k) out, both dimensions
    open. Raises InputError where it cannot be written.
    """
    program = _exported(model, k, exclude_seen)
    with atomic_write(path) as partial, open(partial, "wb") as file:
        torch.export.save(program, file)
    return program


def to_onnx(model: BERT4Rec, path: str | Path, k: int = 10, *, exclude_seen: bool = True) -> None:
    """Write the same as an ONNX file, with input `histories` and outputs `ids` and `scores`. Raises
    InputError where the exporter is not installed or the file cannot be written.
    """
    for package in ("onnx", "onnxscript"):
        require(package, "b4r-fast[export]")
    program = _exported(model, k, exclude_seen)
    level = logging.getLogger("torch.onnx").level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        try:
            made = torch.onnx.export(
                program,
                dynamo=True,
                input_names=["histories"],
                output_names=["ids", "scores"],
                verbose=False,
            )
        finally:
            logging.getLogger("torch.onnx").setLevel(level)
    if made is None:
        raise RuntimeError("torch.onnx.export gave nothing")
    with atomic_write(path) as partial:
        made.save(str(partial))


def _exported(model: BERT4Rec, k: int, exclude_seen: bool) -> ExportedProgram:
    shown = torch.ones(2, 3, dtype=torch.int64, device=model.item_embedding.weight.device)
    every = {"histories": {0: Dim("batch"), 1: Dim("length")}}
    recommendation = Recommendation(model, k, exclude_seen=exclude_seen).eval()
    return torch.export.export(recommendation, (shown,), dynamic_shapes=every)
