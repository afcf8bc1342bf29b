"""Hold the converters and the patches to the real packages, each in its environment, and write down
what came out: make peers.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from b4r_fast.files import atomic_write
from benchmarks import machine
from benchmarks.peers.install import python_of

from .. import ROOT
from .check import PACKAGES

PROVEN = Path(__file__).parent / "proven.json"
SCORES, CURVE = 1e-5, 1e-4  # relative differences that are rounding


def check(name: str) -> dict:
    """What tests.peers.check found, or an error."""
    python = sys.executable if name == "huggingface" else python_of(name)
    if python is None:
        return {"error": f"not installed; python -m benchmarks.peers.install {name} does"}
    done = subprocess.run(
        [str(python), "-W", "ignore", "-m", "tests.peers.check", name],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        return {"error": (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]}
    return json.loads(done.stdout.strip().splitlines()[-1])


def main(names: list[str]) -> int:
    found = {name: check(name) for name in names or PACKAGES}
    table = Table("", "scores", "losses of 50 steps", "ms before", "ms after", "times")
    failed = False
    for name, result in found.items():
        if "error" in result:
            failed = True
            table.add_row(name, result["error"])
            continue
        failed |= result["scores"] > SCORES or result["curve"] > CURVE
        before, after = (1000 * result["step"][when] for when in ("before", "after"))
        figures = (f"{before:.0f}", f"{after:.0f}", f"{before / after:.1f}")
        scores, curve = (f"{result[what]:.1e}" for what in ("scores", "curve"))
        table.add_row(result["package"], scores, curve, *figures)
    Console().print(table)
    if failed:
        return 1
    proven = json.loads(PROVEN.read_text()) if PROVEN.exists() else {}
    with atomic_write(PROVEN) as file:
        for name, result in found.items():
            proven[name] = result | {"cpu": machine.cpu_model()}
        file.write_text(json.dumps(proven, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
