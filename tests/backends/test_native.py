"""The kernels without Python: csrc/tests, built with CMake and run under sanitizers, for the
instruction sets that run here.
"""

import os
import shlex
from pathlib import Path

import pytest

from b4r_fast.backends.cpu.instruction_sets import SUPPORTED

from .. import native_build

ROOT = Path(__file__).resolve().parents[2]
INSTRUCTION_SETS = SUPPORTED or ("baseline",)
# Memory depends on the vectors' width, and each set has loads of its own; what threads share does
# not.
RUNS = [("address,undefined", isa) for isa in INSTRUCTION_SETS] + [("thread", INSTRUCTION_SETS[-1])]

PROGRAM = "#include <thread>\nint main() { std::thread([] {}).join(); }"


def skip_without_runtime(sanitizers: str, folder: Path) -> None:
    """Compilers come without sanitizers, and sanitizers meet kernels that place memory where they
    cannot run.
    """
    (folder / "empty.cpp").write_text(PROGRAM)
    compiler = shlex.split(os.environ.get("CXX", "c++"))
    for command in (
        [*compiler, "-pthread", f"-fsanitize={sanitizers}", "empty.cpp", "-o", "empty"],
        ["./empty"],
    ):
        done = native_build.run(command, folder, 60)
        if done.returncode != 0:
            pytest.skip(
                f"no program runs under -fsanitize={sanitizers} here: {done.stdout.strip()[-300:]}"
            )


def build(sanitizers: str, isa: str) -> Path:
    """The test program."""
    folder = ROOT / "build" / "sanitizers" / sanitizers.replace(",", "-")
    native_build.build(ROOT, folder, f"test_{isa}", f"-DB4R_SANITIZE={sanitizers}")
    return folder / f"test_{isa}"


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("sanitizers", "isa"), RUNS)
def test_the_kernels_pass_their_own_tests_under_sanitizers(sanitizers, isa, tmp_path):
    skip_without_runtime(sanitizers, tmp_path)
    done = native_build.run([build(sanitizers, isa)], tmp_path, 200)
    assert done.returncode == 0, done.stdout
