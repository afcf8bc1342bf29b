"""Builds the CUDA kernels for the CPU, in a folder that stays: after a change the next run compiles what changed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SANITIZERS = ("address", "thread")
# cmake and ninja of this environment come first, as in the build of the package.
PATH = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))


def build(target: str = "_cuda", *, sanitizer: str = "", sources: Path | None = None, folder: Path | None = None) -> Path:
    """The Python module, or the program test_runtime. sources: another csrc than the project's. folder: another than build/cuda_on_cpu."""
    import pybind11

    folder = folder or ROOT / "build" / "cuda_on_cpu" / (sanitizer or "plain")
    folder.mkdir(parents=True, exist_ok=True)
    ninja = shutil.which("ninja", path=PATH)
    generator = ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}"] if ninja else []
    options = [f"-DPython_EXECUTABLE={sys.executable}", f"-Dpybind11_DIR={pybind11.get_cmake_dir()}", f"-DB4R_SANITIZE={sanitizer}"]
    if sources is not None:
        options.append(f"-DB4R_SOURCES={sources}")
    if not any((folder / name).exists() for name in ("build.ninja", "Makefile")):
        _run(["cmake", *generator, *options, HERE], folder)
    _run(["cmake", "--build", ".", "--target", target, "--parallel", str(os.cpu_count())], folder)
    (built,) = folder.glob(f"{target}.*.so") if target == "_cuda" else [folder / target]
    return built


def _run(command: list[str | Path], folder: Path) -> None:
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    done = subprocess.run(command, cwd=folder, env=os.environ | {"PATH": PATH}, timeout=600, **output)
    if done.returncode != 0:
        raise RuntimeError(f"the CUDA kernels do not build for the CPU:\n{done.stdout}")
