"""What the tests of several native ops ask in the same way."""

import os
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor


def assert_same_bits_for_any_number_of_threads(results: Callable[[], list[Tensor]]) -> None:
    before = torch.get_num_threads()
    bits = []
    try:
        for threads in (1, 2, 7, 2):
            torch.set_num_threads(threads)
            bits.append(results())
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for other in bits[1:] for a, b in zip(bits[0], other, strict=True))


POISON = -12345  # as an integer


def poison(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on fresh tensors are full of what no kernel may leave: NaN, or the integer POISON."""

    def poisoned(allocate: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def allocate_and_fill(*args, **kw):
            fresh = allocate(*args, **kw)
            value = torch.nan if fresh.is_floating_point() else POISON
            return fresh.fill_(value) if fresh.numel() else fresh  # ttsem asks for an empty tensor of bytes, which could not be POISON

        return allocate_and_fill

    monkeypatch.setattr(torch.Tensor, "new_empty", poisoned(torch.Tensor.new_empty))
    for name in ("empty", "empty_like"):
        monkeypatch.setattr(torch, name, poisoned(getattr(torch, name)))


def assert_passes_in(isa: str, check: Callable[[], None]) -> None:
    """Call a function of a test module in a process of its own: the native module is chosen at import."""
    program = (
        f"import torch; from {check.__module__} import {check.__name__}; torch.manual_seed(0); {check.__name__}()\n"
        "from b4r_fast.backends.cpu import instruction_sets; print(instruction_sets.ISA)"
    )
    environment = os.environ | {"B4R_FAST_ISA": isa}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == isa, done.stderr
