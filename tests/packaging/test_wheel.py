"""The source distribution holds what builds the wheel; the wheel holds what runs, and says what is missing where it is not whole."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

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
    """Built from the source distribution that is built from this checkout, as `python -m build` does."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
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
    return subprocess.run(command, cwd=site.parent, env=environment, capture_output=True, text=True, timeout=120)


def test_the_wheel_runs(site):
    done = run(PROGRAM, site)
    assert done.returncode == 0, done.stderr


def test_the_wheel_holds_the_package_and_the_licence_alone(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"b4r_fast"}
    assert any(name.endswith("LICENSE") for name in names)
    assert any(name.endswith(".so") and "_baseline" in name for name in names)


def test_without_torch_the_import_says_what_to_install(site):
    done = run("import b4r_fast", site, "-S")
    assert "b4r_fast needs PyTorch; `pip install torch`" in done.stderr


def test_a_build_without_a_compiler_says_what_to_install(tmp_path):
    environment = {"PATH": str(tmp_path), "HOME": str(tmp_path)}
    command = [sys.executable, "setup.py", "-q", "build_ext", "--build-temp", tmp_path, "--build-lib", tmp_path]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode != 0
    assert "error: b4r_fast needs a C++17 compiler to build; install it with `apt install g++`" in done.stderr
