"""Builds the native modules with CMake; everything else about the package stands in pyproject.toml."""

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
INSTRUCTION_SETS = ("baseline", "avx2", "avx512") if platform.machine().lower() in ("x86_64", "amd64") else ("baseline",)


def need(tools: list[str], name: str, install: str) -> None:
    if not any(shutil.which(tool) for tool in tools if tool):
        sys.exit(f"error: b4r_fast needs {name} to build; install it with {install}, then try again")


class CMakeBuild(build_ext):
    def run(self) -> None:
        import pybind11

        compiler = "`apt install g++`, `dnf install gcc-c++` or `xcode-select --install`, or set CXX"
        need([os.environ.get("CXX", "").partition(" ")[0], "c++", "g++", "clang++"], "a C++17 compiler", compiler)
        need(["cmake"], "CMake 3.18 or newer", "`pip install cmake`")
        ninja = shutil.which("ninja")
        # One folder a generator, and the program named anew: pip's isolated builds each have their own ninja, gone afterwards.
        build = Path(self.build_temp).resolve() / ("ninja" if ninja else "make")
        generator = ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}"] if ninja else []
        output = Path(self.get_ext_fullpath(self.extensions[0].name)).resolve().parent
        configure = [f"-DPython_EXECUTABLE={sys.executable}", f"-Dpybind11_DIR={pybind11.get_cmake_dir()}", f"-DB4R_OUTPUT={output}"]
        try:
            options = shlex.split(os.environ.get("CMAKE_ARGS", ""))
            subprocess.run(["cmake", "-S", ROOT, "-B", build, *generator, *configure, *options], check=True)
            subprocess.run(["cmake", "--build", build, "--parallel"], check=True)
        except subprocess.CalledProcessError:
            sys.exit("error: the native modules of b4r_fast did not build; CMake's lines above say why")


setup(
    ext_modules=[Extension(f"b4r_fast.backends.cpu._{name}", sources=[]) for name in INSTRUCTION_SETS],
    cmdclass={"build_ext": CMakeBuild},
)
