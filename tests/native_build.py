"""Builds native test code with CMake, in folders that stay: after a change the next run compiles
what changed.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# cmake and ninja of this environment come first, as in the build of the package.
PATH = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))


def run(command: list[str | Path], folder: Path, seconds: int) -> subprocess.CompletedProcess:
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.run(
        command, cwd=folder, env=os.environ | {"PATH": PATH}, timeout=seconds, **output
    )


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Of all processes: workers of pytest, and lanes, build in the same folders. The lock ends with
    the process that holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def build(source: Path, folder: Path, target: str, *options: str) -> None:
    """A target of the CMake project in source. options: for a folder always the same. RuntimeError
    with what was printed if it fails.
    """
    ninja = shutil.which("ninja", path=PATH)
    generator = ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}"] if ninja else []
    commands: list[list[str | Path]] = [
        ["cmake", "--build", ".", "--target", target, "--parallel", str(os.cpu_count())]
    ]
    with alone_in(folder):
        if not any((folder / name).exists() for name in ("build.ninja", "Makefile")):
            commands.insert(0, ["cmake", *generator, *options, source])
        for command in commands:
            done = run(command, folder, 500)
            if done.returncode != 0:
                raise RuntimeError(f"{target} does not build:\n{done.stdout}")
