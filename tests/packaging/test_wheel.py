"""The source distribution holds what builds the wheel; the wheel holds what runs, and says what is
missing where it is not whole.
"""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# A build from nothing, CUDA too where there is nvcc.
pytestmark = [pytest.mark.timeout(600), pytest.mark.long]

PROGRAM = """
import b4r_fast, torch
from b4r_fast.backends.cpu.instruction_sets import ISA
assert "site" in b4r_fast.__file__ and ISA, b4r_fast.__file__
x = torch.randn(4, 8)
y = b4r_fast.ops.residual_layer_norm(x, x, torch.ones(8), torch.zeros(8), eps=1e-6)
torch.testing.assert_close(y, torch.nn.functional.layer_norm(2 * x, (8,), eps=1e-6))
model = b4r_fast.BERT4Rec(b4r_fast.BERT4RecConfig(num_items=20, max_length=5))
assert model.recommend([[1, 2, 3]], k=3).ids.shape == (1, 3)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from the source distribution that is built from this checkout, as `python -m build`
    does.

    To take less long for one GPU, and not optimised.
    """
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT]
    environment = os.environ | {
        "B4R_FAST_CUDA_ARCHS": "80",
        "CMAKE_ARGS": "-DCMAKE_BUILD_TYPE=Debug",
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=550)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture
def site(wheel, tmp_path) -> Path:
    """The wheel installed away from the checkout."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    return tmp_path / "site"


def run(program: str, site: Path, *options: str) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": str(site)}
    command = [sys.executable, *options, "-c", program]
    return subprocess.run(
        command, cwd=site.parent, env=environment, capture_output=True, text=True, timeout=120
    )


def test_the_wheel_runs(site):
    done = run(PROGRAM, site)
    assert done.returncode == 0, done.stderr


def test_the_wheel_holds_the_package_and_the_licence_alone(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"b4r_fast"}
    assert any(name.endswith("LICENSE") for name in names)
    assert any(name.endswith(".so") and "_baseline" in name for name in names)


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="there is no nvcc")
def test_where_there_is_nvcc_the_wheel_holds_cuda_kernels_that_need_no_cuda_to_be_imported(site):
    (module,) = (site / "b4r_fast" / "backends" / "cuda").glob("_cuda.*.so")
    needed = subprocess.run(["ldd", module], capture_output=True, text=True, check=True).stdout
    assert "cuda" not in needed.replace(module.name, "")
    done = run("import b4r_fast; print(b4r_fast.backends()['cuda'])", site)
    assert "the CUDA module is built" in done.stdout or "available (" in done.stdout, done.stderr


def test_without_torch_the_import_says_what_to_install(site):
    done = run("import b4r_fast", site, "-S")
    assert "b4r_fast needs PyTorch; `pip install torch`" in done.stderr


def test_a_build_without_a_compiler_says_what_to_install(tmp_path):
    environment = {"PATH": str(tmp_path), "HOME": str(tmp_path)}
    command = [
        sys.executable,
        "setup.py",
        "-q",
        "build_ext",
        "--build-temp",
        tmp_path,
        "--build-lib",
        tmp_path,
    ]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode != 0
    assert (
        "error: b4r_fast needs a C++17 compiler to build; install it with `apt install g++`"
        in done.stderr
    )


def build_with(cuda: str, folder: Path) -> subprocess.CompletedProcess:
    """The modules, where there are a compiler and CMake, but no nvcc."""
    for tool, found in (
        ("c++", shutil.which("c++")),
        (
            "cmake",
            shutil.which("cmake", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}"),
        ),
    ):
        (folder / tool).symlink_to(found)
    environment = {"PATH": str(folder), "HOME": str(folder), "B4R_FAST_CUDA": cuda}
    command = [
        sys.executable,
        "setup.py",
        "-q",
        "build_ext",
        "--build-temp",
        folder,
        "--build-lib",
        folder,
    ]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )


def test_cuda_that_is_asked_for_without_nvcc_says_what_to_install(tmp_path):
    done = build_with("on", tmp_path)
    assert done.returncode != 0
    assert (
        "error: b4r_fast needs nvcc with B4R_FAST_CUDA=ON to build; install it with"
        " developer.nvidia.com/cuda-downloads" in done.stderr
    )


def test_a_wrong_choice_of_cuda_is_refused(tmp_path):
    assert (
        "error: B4R_FAST_CUDA must be AUTO, ON or OFF, got YES"
        in build_with("yes", tmp_path).stderr
    )
