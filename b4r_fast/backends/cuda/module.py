"""The native module of the CUDA kernels: whether it is built and can run here, and what its
functions take.
"""

from __future__ import annotations

import importlib
from types import ModuleType

import torch
from torch import Tensor

UNAVAILABLE: str | None = None
DEVICES: tuple[str, ...] = ("cuda",)
DTYPES: dict = {}
native: ModuleType

try:
    native = importlib.import_module("._cuda", __package__)
except ImportError as error:
    UNAVAILABLE = (
        f"the CUDA module is not built ({error}); with nvcc, `B4R_FAST_CUDA=ON pip install .` in"
        " the source folder builds it"
    )
else:
    DEVICES = (native.DEVICE,)
    DTYPES = {
        torch.float32: native.Dtype.fp32,
        torch.bfloat16: native.Dtype.bf16,
        torch.float16: native.Dtype.fp16,
    }
    if native.DEVICE == "cuda" and torch.version.hip:
        UNAVAILABLE = "torch is built for AMD's GPUs, which triton serves"
    elif native.DEVICE == "cuda" and not torch.cuda.is_available():
        UNAVAILABLE = "the CUDA module is built, but torch finds no GPU"


def stream(tensor: Tensor) -> int:
    """The stream on which kernels for this tensor are launched."""
    return torch.cuda.current_stream(tensor.device).cuda_stream if tensor.is_cuda else 0
