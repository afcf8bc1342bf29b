"""C++ kernels for the CPU: thin glue over csrc/cpu. The module for the best instruction set of this
CPU is chosen at import.

The environment variable B4R_FAST_ISA (baseline, avx2 or avx512) forces one; ValueError where it
cannot run here.
"""

from __future__ import annotations

import torch

from .. import gather
from . import instruction_sets

DEVICES = ("cpu",)
DTYPES = (torch.float32,)
UNAVAILABLE = instruction_sets.UNAVAILABLE
OPERATORS = gather(__name__, __path__) if UNAVAILABLE is None else {}
