"""What the tests of several native ops ask in the same way."""

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context

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
    """From now on fresh tensors are full of what no kernel may leave: NaN, or the
    integer POISON.
    """

    def poisoned(allocate: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def allocate_and_fill(*args, **kw):
            fresh = allocate(*args, **kw)
            value = torch.nan if fresh.is_floating_point() else POISON
            # ttsem asks for an empty tensor of bytes, which could not be POISON.
            return fresh.fill_(value) if fresh.numel() else fresh

        return allocate_and_fill

    monkeypatch.setattr(torch.Tensor, "new_empty", poisoned(torch.Tensor.new_empty))
    for name in ("empty", "empty_like"):
        monkeypatch.setattr(torch, name, poisoned(getattr(torch, name)))


def _choose(isa: str) -> None:
    os.environ["B4R_FAST_ISA"] = isa


@cache
def _process_with(isa: str) -> ProcessPoolExecutor:
    """A process of its own, since the native module is chosen at import; one for all tests, since
    torch takes seconds to load.
    """
    return ProcessPoolExecutor(1, get_context("spawn"), _choose, (isa,))


def _checked(check: Callable[[], None]) -> str | None:
    """In that process. The instruction set that was chosen there."""
    from b4r_fast.backends.cpu import instruction_sets

    torch.manual_seed(0)
    check()
    return instruction_sets.ISA


def assert_passes_in(isa: str, check: Callable[[], None]) -> None:
    """Call a function of a test module with an instruction set."""
    assert _process_with(isa).submit(_checked, check).result(timeout=120) == isa
