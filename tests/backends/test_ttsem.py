"""That ttsem sees what docs/gpu.md says: kernels with one fault each. For --on ttsem alone."""

import sys

import pytest
import torch

if "ttsem" not in sys.modules:
    pytest.skip("for --on ttsem", allow_module_level=True)

import triton
import triton.language as tl
from ttsem.sanitize import KernelFault, Unjudged

from ..ops.native import poison

pytestmark = pytest.mark.kernels


@triton.jit
def _stores_where_others_do(p_x):
    tl.store(p_x, tl.program_id(0))


@triton.jit
def _loads_what_another_stores(p_x):
    tl.store(p_x + tl.program_id(0), tl.load(p_x + 1 - tl.program_id(0)) + 1)


@triton.jit
def _stores_twice_to_a_place(p_x):
    lanes = tl.arange(0, 4)
    tl.store(p_x + lanes // 2, lanes)


@triton.jit
def _stores_past_the_end(p_x):
    tl.store(p_x + tl.arange(0, 16), 0)


@triton.jit
def _loads_past_the_end(p_x):
    tl.store(p_x, tl.sum(tl.load(p_x + tl.arange(0, 16)), 0))


@triton.jit
def _overflows_in_lanes_that_are_masked(p_x, stride):
    lanes = tl.arange(0, 16)
    tl.store(p_x + lanes * stride, 0, lanes < 1)


@triton.jit
def _adds_to_what_is_there(p_x, p_y):
    tl.store(p_y, tl.load(p_x) + tl.load(p_y))


# Each is launched on eight integers, in two programs.
@pytest.mark.parametrize(
    ("kernel", "sizes", "seen"),
    [
        (_stores_where_others_do, (), r"both touch element 0 of `p_x`.*write-write"),
        (_loads_what_another_stores, (), r"both touch element 0 of `p_x`.*read-write"),
        (_stores_twice_to_a_place, (), "two lanes of one store"),
        (
            _stores_past_the_end,
            (),
            "writes 8 element.s. past the end of the tensor passed as `p_x`",
        ),
        (_loads_past_the_end, (), "reads 8 element.s. past the end of the tensor passed as `p_x`"),
        (
            _overflows_in_lanes_that_are_masked,
            (1 << 28,),
            "int32 overflow detected for operation mul",
        ),
    ],
)
def test_a_fault_is_raised(kernel, sizes, seen):
    with pytest.raises((KernelFault, Unjudged), match=seen):
        kernel[(2,)](torch.zeros(8, dtype=torch.int32), *sizes)


def test_memory_that_nobody_wrote_spoils_what_is_made_of_it(monkeypatch):
    poison(monkeypatch)
    y = torch.empty(1)
    _adds_to_what_is_there[(1,)](torch.ones(1), y)
    assert y.isnan()
