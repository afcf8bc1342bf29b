"""Resident memory of this process, as Linux reports it, None elsewhere; and what torch has
allocated on a GPU.
"""

from __future__ import annotations

import ctypes
import gc
from pathlib import Path

import torch

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def _status(field: str) -> int | None:
    """Bytes of a line such as "VmRSS:   1234 kB"."""
    try:
        lines = STATUS.read_text().splitlines()
    except OSError:
        return None
    return next(
        (int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:")), None
    )


class PeakMemory:
    """with PeakMemory() as peak: ...; peak.bytes is how far memory rose above what was held at the
    start, peak.total how high.

    What was freed before is handed back to the system first, so that it is not counted as held.
    """

    bytes: int | None = None
    total: int | None = None

    def __enter__(self) -> PeakMemory:
        gc.collect()
        try:
            ctypes.CDLL(None).malloc_trim(0)
            CLEAR.write_text("5")  # sets VmHWM back to VmRSS
        except (OSError, AttributeError):
            self.start = None
        else:
            self.start = _status("VmRSS")
        return self

    def __exit__(self, *_) -> None:
        highest = _status("VmHWM")
        if self.start is not None and highest is not None:
            self.bytes, self.total = max(0, highest - self.start), highest


class PeakMemoryOfGpu:
    """The same for what torch has allocated on the GPU."""

    bytes: int
    total: int

    def __enter__(self) -> PeakMemoryOfGpu:
        gc.collect()
        torch.cuda.reset_peak_memory_stats()
        self.start = torch.cuda.memory_allocated()
        return self

    def __exit__(self, *_) -> None:
        self.total = torch.cuda.max_memory_allocated()
        self.bytes = self.total - self.start


PEAK_MEMORY = {"cpu": PeakMemory, "cuda": PeakMemoryOfGpu}
