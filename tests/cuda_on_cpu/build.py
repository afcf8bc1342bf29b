"""Builds the CUDA kernels for the CPU."""

from __future__ import annotations

import sys
from pathlib import Path

from .. import native_build

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SANITIZERS = ("address", "thread")


def build(
    target: str = "_cuda",
    *,
    sanitizer: str = "",
    sources: Path | None = None,
    folder: Path | None = None,
) -> Path:
    """The Python module, or the program test_runtime. sources: another csrc than the project's.
    folder: another than build/cuda_on_cpu.
    """
    import pybind11

    folder = folder or ROOT / "build" / "cuda_on_cpu" / (sanitizer or "plain")
    options = [
        f"-DPython_EXECUTABLE={sys.executable}",
        f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
        f"-DB4R_SANITIZE={sanitizer}",
    ]
    if sources is not None:
        options.append(f"-DB4R_SOURCES={sources}")
    native_build.build(HERE, folder, target, *options)
    (built,) = folder.glob(f"{target}.*.so") if target == "_cuda" else [folder / target]
    return built
