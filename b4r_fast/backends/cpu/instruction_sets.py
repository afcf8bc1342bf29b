"""Which native module runs: the same sources, built for baseline, AVX2 + FMA, and AVX-512."""

from __future__ import annotations

import importlib
import os
from types import ModuleType

from torch import Tensor

from ..reference.philox import dropout_threshold

UNAVAILABLE: str | None = None
SUPPORTED: tuple[str, ...] = ()
ISA: str | None = None
native: ModuleType

try:
    _baseline = importlib.import_module("._baseline", __package__)
except ImportError as error:
    UNAVAILABLE = (
        f"the native modules are not built ({error}); `pip install .` in the source folder builds"
        " them"
    )
else:
    SUPPORTED = tuple(_baseline.supported_instruction_sets())
    ISA = os.environ.get("B4R_FAST_ISA") or SUPPORTED[-1]
    if ISA not in SUPPORTED:
        raise ValueError(
            f"B4R_FAST_ISA must be one that runs on this CPU, {' or '.join(SUPPORTED)}, got {ISA!r}"
        )
    native = importlib.import_module(f"._{ISA}", __package__)


def native_dropout(dropout_p: float, seed: Tensor | None) -> tuple[int, int]:
    """The seed and threshold that the native functions take; threshold 0 drops nothing."""
    return (0, 0) if seed is None else (int(seed), dropout_threshold(dropout_p))
