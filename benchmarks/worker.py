"""A process that holds contenders and times them on request: JSON lines in, JSON lines out.

Whatever a library prints goes to standard error. The contenders of one op share a process; each
peer of the whole model has its own, in its own environment; and a process with other settings of
malloc has them from its start.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from .batch import Batch
from .measure import now
from .memory import PEAK_MEMORY

WARM_UP = 8  # sequences


def build(kind: str, name: str, case: str, work) -> Any:
    if kind == "op":
        from . import ops

        return ops.build(case, name, work)
    from . import peers

    return (
        peers.build_training(name, work)
        if kind == "training"
        else peers.build_recommendation(name, work)
    )


def run(contender: Any) -> dict[str, float]:
    """Seconds of each part: forward, backward, optimizer, as far as the contender has them; or of
    the step, if it has no parts.
    """
    seconds = {}
    start = now()
    if hasattr(contender, "step"):
        contender.step()
        return {"step": now() - start}
    out = contender.forward()
    seconds["forward"], start = now() - start, now()
    if getattr(contender, "differentiable", True):
        contender.backward(out)
        seconds["backward"], start = now() - start, now()
    if hasattr(contender, "optimize"):
        contender.optimize()
        seconds["optimizer"] = now() - start
    return seconds


@contextmanager
def defaults(device: str, dtype: torch.dtype) -> Iterator[None]:
    """Where parameters and inputs are made, and of which dtype, while nothing is timed: torch asks
    such a default at every call.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            yield
    finally:
        torch.set_default_dtype(before)


class Contenders:
    def __init__(self, device: str) -> None:
        self.device = device
        self.held: dict[str, Any] = {}

    def build(
        self, kind: str, name: str, case: str, work: dict, batch: str, dtype: str = "float32"
    ) -> dict:
        """Make a contender, warm it up on a few sequences, and run the whole batch once to see how
        much memory that takes.
        """
        self.dtype = getattr(torch, dtype)
        whole = Batch.load(batch).to(self.device)
        with defaults(self.device, self.dtype):
            contender = build(kind, name, case, SimpleNamespace(**work))
            contender.load(
                whole if contender.static_shapes else whole.head(min(WARM_UP, len(whole)))
            )
        run(contender)
        if not contender.static_shapes:
            with defaults(self.device, self.dtype):
                contender.load(whole)
        with PEAK_MEMORY[self.device]() as peak:
            run(contender)
        self.held[name] = contender
        return {"versions": contender.versions, "peak_bytes": peak.bytes, "total_bytes": peak.total}

    def drop(self, name: str) -> dict:
        del self.held[name]
        return {}

    def run(self, name: str) -> dict:
        return run(self.held[name])

    def limits(self, name: str, bytes_read: int) -> dict:
        """The bandwidth is that of the input which is all that is read, if there is one: by a tenth
        it depends on where memory lies.
        """
        from . import machine

        if self.device == "cuda":
            return machine.limits_of_gpu(self.dtype)
        inputs = getattr(self.held[name], "inputs", ())
        read = next((tensor for tensor in inputs if tensor.nbytes == bytes_read), None)
        return machine.limits(
            machine.array(bytes_read) if read is None else read, torch.get_num_threads()
        )


def main(threads: int, device: str) -> None:
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    # A peer that needs more memory than there is ends alone.
    Path("/proc/self/oom_score_adj").write_text("1000")
    torch.set_num_threads(threads)
    contenders = Contenders(device)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            reply = getattr(contenders, request.pop("do"))(**request)
        except ModuleNotFoundError as error:
            reply = {"error": f"not installed: {error.name}"}
        except Exception as error:  # the reason goes into the report, whatever it is
            reason = str(error).strip().splitlines() or [""]
            reply = {"error": f"{type(error).__name__}: {reason[0]}"}
        print(json.dumps(reply), file=channel, flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
