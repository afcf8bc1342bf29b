"""What Triton's interpreter cannot see: that every launch compiles for real GPUs, keeps in registers, fits, and uses tensor cores."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="triton is not installed")

from .compile_triton import faults

CACHE = Path(__file__).resolve().parents[2] / "build" / "triton"  # what has not changed is not compiled again
LAUNCHES = [(target, dtype) for dtype in ("bf16", "fp32", "fp16") for target in ("sm_80", "sm_90", "sm_100", "gfx942")]
FOR_GRAPHICS = ("sm_86", "bf16")
MINUTES = 60  # from nothing on two cores they take 25 together


def compile_all(target: str, dtype: str) -> list[dict]:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"} | {"TRITON_CACHE_DIR": str(CACHE)}
    command = [sys.executable, "-m", "tests.backends.compile_triton", target, dtype]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=MINUTES * 60)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def compiled() -> Iterator[dict[tuple[str, str], Future]]:
    """What compiles on all cores while the tests wait."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield {launches: pool.submit(compile_all, *launches) for launches in (*LAUNCHES, FOR_GRAPHICS)}


@pytest.mark.timeout(MINUTES * 60)
@pytest.mark.parametrize(("target", "dtype"), LAUNCHES)
def test_every_launch_compiles_without_a_fault(target, dtype, compiled):
    rows = compiled[target, dtype].result()
    assert {row["op"] for row in rows} >= {"attention", "gelu_ffn", "softmax_loss", "residual_layer_norm", "topk", "rank"}
    assert {f"{row['op']} {row['kernel']}: {faults(row)}" for row in rows if faults(row)} == set()


@pytest.mark.timeout(MINUTES * 60)
def test_every_launch_fits_a_gpu_for_graphics(compiled):
    """Which has less shared memory. Spills of some bytes are left to it: its tiles were not screened for them."""
    rows = [row | {"spills": 0} for row in compiled[FOR_GRAPHICS].result()]
    assert {f"{row['op']} {row['kernel']}: {faults(row)}" for row in rows if faults(row)} == set()
