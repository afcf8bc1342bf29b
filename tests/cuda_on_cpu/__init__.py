"""The CUDA kernels, the same sources, run on the CPU: runtime.h has what that checks."""

from __future__ import annotations

import importlib.util
import os
import shlex
import subprocess
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
    """Have the backend, which must not be imported yet, take for its own the module that
    B4R_CUDA_ON_CPU names, or the plain one.
    """
    assert "b4r_fast" not in sys.modules
    sys.modules[NAME] = load(Path(os.environ.get("B4R_CUDA_ON_CPU") or build()))


def environment(*, copies: str = "deferred", order: int | None = None) -> dict[str, str]:
    """For a process: how threads run and copies land (runtime.h), and what sanitizers do about what
    they find.
    """
    options = {
        "B4R_CUDA_ON_CPU_COPIES": copies,
        "ASAN_OPTIONS": "detect_leaks=0",
        # torch's own threads are none of ours
        "TSAN_OPTIONS": "halt_on_error=1 exitcode=66 ignore_noninstrumented_modules=1",
        "OMP_NUM_THREADS": "1",
    }
    if order is not None:
        options["B4R_CUDA_ON_CPU_ORDER"] = str(order)
    return os.environ | options


def preloaded(sanitizer: str) -> str:
    """What a Python that was built without the sanitizer must load before everything else."""
    if not sanitizer:
        return ""
    compiler = shlex.split(os.environ.get("CXX", "c++"))
    # With the C++ library: AddressSanitizer looks for what it stands in for when it starts.
    names = (f"lib{sanitizer[0]}san.so", "libstdc++.so")
    files = [
        subprocess.run(
            [*compiler, f"-print-file-name={name}"], capture_output=True, text=True, check=True
        )
        for name in names
    ]
    return " ".join(done.stdout.strip() for done in files)


def run_tests(
    *arguments: str, module: Path, sanitizer: str = "", seconds: int = 280, **mode
) -> subprocess.CompletedProcess:
    """pytest in a process of its own, with a module of the kernels; for ThreadSanitizer without
    random places in memory, where it can.
    """
    fixed = (
        ["setarch", "-R"]
        if sanitizer == "thread"
        and subprocess.run(["setarch", "-R", "true"], check=False).returncode == 0
        else []
    )
    command = [
        *fixed,
        sys.executable,
        "-m",
        "pytest",
        "-m",
        "not gpu",
        "-x",
        "-s",
        "-p",
        "no:cacheprovider",
        *arguments,
    ]
    variables = environment(**mode) | {
        "B4R_CUDA_ON_CPU": str(module),
        "LD_PRELOAD": preloaded(sanitizer),
    }
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.run(
        command, cwd=Path(__file__).parents[2], env=variables, timeout=seconds, **output
    )
