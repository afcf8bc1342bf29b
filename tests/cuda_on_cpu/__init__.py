"""The CUDA kernels, the same sources, run on the CPU: runtime.h has what that checks."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

from .build import build

NAME = "b4r_fast.backends.cuda._cuda"


def load(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(NAME, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def install() -> None:
    """Have the backend, which must not be imported yet, take this module for its own, with B4R_CUDA_ON_CPU_SANITIZER or without."""
    assert "b4r_fast" not in sys.modules
    sys.modules[NAME] = load(build(sanitizer=os.environ.get("B4R_CUDA_ON_CPU_SANITIZER", "")))
