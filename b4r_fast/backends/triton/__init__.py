"""Triton kernels: for GPUs, and under Triton's interpreter (TRITON_INTERPRET=1) for CPU tensors, which is how they are tested."""

from __future__ import annotations

import importlib.util
import os

import torch

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICES = ("cpu", "cuda") if INTERPRETED else ("cuda",)
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
OPERATORS: dict = {}


def _why_not() -> str | None:
    if importlib.util.find_spec("triton") is None:
        return 'triton is not installed; `pip install "b4r-fast[triton]"`'
    if not INTERPRETED and not torch.cuda.is_available():
        return "torch finds no GPU; TRITON_INTERPRET=1 runs the kernels, slowly, on the CPU"
    return None


UNAVAILABLE = _why_not()

if UNAVAILABLE is None:
    from .residual_layer_norm import residual_layer_norm, residual_layer_norm_backward

    OPERATORS = {function.__name__: function for function in (residual_layer_norm, residual_layer_norm_backward)}
