"""The kernels without Python: csrc/tests, built with CMake and run under sanitizers, for the instruction sets that run here."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from b4r_fast.backends.cpu.instruction_sets import SUPPORTED

ROOT = Path(__file__).resolve().parents[2]
INSTRUCTION_SETS = SUPPORTED or ("baseline",)
# Memory depends on the vectors' width, and each set has loads of its own; what threads share does not.
RUNS = [("address,undefined", isa) for isa in INSTRUCTION_SETS] + [("thread", INSTRUCTION_SETS[-1])]

# cmake and ninja of this environment come first, as in the build of the package.
PATH = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))
PROGRAM = "#include <thread>\nint main() { std::thread([] {}).join(); }"


def run(command: list[str], folder: Path, seconds: int) -> subprocess.CompletedProcess:
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.run(command, cwd=folder, env=os.environ | {"PATH": PATH}, timeout=seconds, **output)


def skip_without_runtime(sanitizers: str, folder: Path) -> None:
    """Compilers come without sanitizers, and sanitizers meet kernels that place memory where they cannot run."""
    (folder / "empty.cpp").write_text(PROGRAM)
    compiler = shlex.split(os.environ.get("CXX", "c++"))
    for command in ([*compiler, "-pthread", f"-fsanitize={sanitizers}", "empty.cpp", "-o", "empty"], ["./empty"]):
        done = run(command, folder, 60)
        if done.returncode != 0:
            pytest.skip(f"no program runs under -fsanitize={sanitizers} here: {done.stdout.strip()[-300:]}")


def build(sanitizers: str, isa: str) -> Path:
    """The test program, in a folder that stays: after a change of csrc the next run compiles what changed."""
    folder = ROOT / "build" / "sanitizers" / sanitizers.replace(",", "-")
    folder.mkdir(parents=True, exist_ok=True)
    ninja = shutil.which("ninja", path=PATH)
    generator = ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}"] if ninja else []
    for command in (["cmake", *generator, f"-DB4R_SANITIZE={sanitizers}", ROOT], ["cmake", "--build", ".", "--target", f"test_{isa}"]):
        done = run(command, folder, 500)
        assert done.returncode == 0, done.stdout
    return folder / f"test_{isa}"


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("sanitizers", "isa"), RUNS)
def test_the_kernels_pass_their_own_tests_under_sanitizers(sanitizers, isa, tmp_path):
    skip_without_runtime(sanitizers, tmp_path)
    done = run([build(sanitizers, isa)], tmp_path, 200)
    assert done.returncode == 0, done.stdout
