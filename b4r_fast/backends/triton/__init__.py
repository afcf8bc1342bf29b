"""Triton kernels: for GPUs, and under Triton's interpreter (TRITON_INTERPRET=1) for CPU tensors,
which is how they are tested.
"""

from __future__ import annotations

import importlib.util
import os

import torch

from .. import gather
from ..devices import on_its_device

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICES = ("cpu", "cuda") if INTERPRETED else ("cuda",)
# The interpreter of Triton 3.7 multiplies the bits of bf16 as if they were integers.
DTYPES = (torch.float32, torch.float16, *(() if INTERPRETED else (torch.bfloat16,)))
AUTOTUNE = os.environ.get("B4R_FAST_AUTOTUNE") == "1"
OPERATORS: dict = {}


def _why_not() -> str | None:
    if importlib.util.find_spec("triton") is None:
        return 'triton is not installed; `pip install "b4r-fast[triton]"`'
    if not INTERPRETED and not torch.cuda.is_available():
        return "torch finds no GPU; TRITON_INTERPRET=1 runs the kernels, slowly, on the CPU"
    return None


UNAVAILABLE = _why_not()

if UNAVAILABLE is None:
    from . import tuning

    for name, operator in gather(__name__, __path__).items():
        OPERATORS[name] = on_its_device(tuning.tuned(operator) if AUTOTUNE else operator)
