"""Builds the native modules with CMake; everything else about the package stands in
pyproject.toml.
"""

import os
import platform
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent.resolve()
INSTRUCTION_SETS = (
    ("baseline", "avx2", "avx512")
    if platform.machine().lower() in ("x86_64", "amd64")
    else ("baseline",)
)


def need(tools: list[str], name: str, install: str) -> None:
    if not any(shutil.which(tool) for tool in tools if tool):
        sys.exit(
            f"error: b4r_fast needs {name} to build; install it with {install}, then try again"
        )


def jobs() -> int:
    """Compilers that run at once: one for each core, but no more than have 2 GiB of memory each,
    which nvcc may take.
    """
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):  # not on this system
        return 1
    return max(1, min(os.cpu_count() or 1, memory >> 31))


class CMakeBuild(build_ext):
    def run(self) -> None:
        import pybind11

        compiler = (
            "`apt install g++`, `dnf install gcc-c++` or `xcode-select --install`, or set CXX"
        )
        need(
            [os.environ.get("CXX", "").partition(" ")[0], "c++", "g++", "clang++"],
            "a C++17 compiler",
            compiler,
        )
        need(["cmake"], "CMake 3.18 or newer", "`pip install cmake`")
        cuda = os.environ.get("B4R_FAST_CUDA", "AUTO").upper()
        if cuda not in ("AUTO", "ON", "OFF"):
            sys.exit(f"error: B4R_FAST_CUDA must be AUTO, ON or OFF, got {cuda}")
        if cuda == "ON":
            toolkit = (
                "developer.nvidia.com/cuda-downloads, with nvcc on PATH or in CUDACXX, or leave"
                " B4R_FAST_CUDA=ON out"
            )
            need([os.environ.get("CUDACXX", ""), "nvcc"], "nvcc with B4R_FAST_CUDA=ON", toolkit)
        ninja = shutil.which("ninja")
        # In place what has not changed is not compiled again. One folder a generator, and the
        # program named anew: pip's isolated builds each have their own ninja, gone afterwards.
        in_place = self.inplace or self.editable_mode
        build = (ROOT / "build" / "native" if in_place else Path(self.build_temp).resolve()) / (
            "ninja" if ninja else "make"
        )
        generator = ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}"] if ninja else []
        backends = Path(self.get_ext_fullpath(self.extensions[0].name)).resolve().parents[1]
        configure = [
            f"-DPython_EXECUTABLE={sys.executable}",
            f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
            f"-DB4R_OUTPUT={backends}",
        ]
        configure += [
            f"-DB4R_FAST_CUDA={cuda}",
            f"-DB4R_FAST_CUDA_ARCHS={os.environ.get('B4R_FAST_CUDA_ARCHS', '')}",
        ]
        try:
            options = shlex.split(os.environ.get("CMAKE_ARGS", ""))
            subprocess.run(
                ["cmake", "-S", ROOT, "-B", build, *generator, *configure, *options], check=True
            )
            subprocess.run(["cmake", "--build", build, "--parallel", str(jobs())], check=True)
        except subprocess.CalledProcessError:
            without = "" if cuda == "OFF" else "; B4R_FAST_CUDA=OFF builds without CUDA"
            sys.exit(
                "error: the native modules of b4r_fast did not build; CMake's lines above say"
                f" why{without}"
            )


setup(
    ext_modules=[
        Extension(f"b4r_fast.backends.cpu._{name}", sources=[]) for name in INSTRUCTION_SETS
    ],
    cmdclass={"build_ext": CMakeBuild},
)
