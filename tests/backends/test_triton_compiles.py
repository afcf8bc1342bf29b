"""What Triton's interpreter cannot see: that the kernels compile for real GPUs, keep in registers, and fit in shared memory."""

import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("triton", reason="triton is not installed")

# Bytes a program may use: the least of sm_80, sm_90, sm_100 and gfx942.
SHARED_MEMORY = 64 * 1024


def test_every_kernel_compiles_for_nvidia_and_amd_without_spilling(tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"} | {"TRITON_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "tests.backends.compile_triton"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=290)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert {row["target"] for row in rows} == {"sm_80", "sm_90", "sm_100", "gfx942"}
    assert [row for row in rows if row["spills"] or row["shared"] > SHARED_MEMORY] == []
