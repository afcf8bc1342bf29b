"""Tests, which mirror the package. What their environment is must be settled before torch is
loaded; the programs they start inherit it.
"""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# Two workers share two cores: one thread each, unless a test asks for more, and none that spins
# while it waits.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# What compilers keep stays in the checkout: a new one begins with nothing.
os.environ.setdefault("TRITON_CACHE_DIR", str(ROOT / "build" / "triton"))
os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(ROOT / "build" / "inductor"))
