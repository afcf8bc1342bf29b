"""CUDA C++ kernels, for what Triton expresses badly: thin glue over csrc/cuda. They are built where
there is nvcc (docs/gpu.md).
"""

from __future__ import annotations

from .. import gather
from ..devices import on_its_device
from . import module

DTYPES = tuple(module.DTYPES)
DEVICES = module.DEVICES
UNAVAILABLE = module.UNAVAILABLE
OPERATORS: dict = {}

if UNAVAILABLE is None:
    OPERATORS = {
        name: on_its_device(operator) for name, operator in gather(__name__, __path__).items()
    }
