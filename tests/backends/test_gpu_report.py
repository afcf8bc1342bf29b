"""What the report computes without compiling anything."""

import pytest

pytest.importorskip("triton", reason="triton is not installed")

from ..without_a_gpu.report import GPUS, Work, resident_warps, works


@pytest.mark.parametrize(
    ("registers", "num_warps", "shared", "resident"),
    [
        (32, 4, 0, 64),  # all that a multiprocessor holds
        (255, 8, 0, 8),  # 65,536 registers
        (33, 4, 0, 48),  # given out 8 at a time
        (32, 4, 100 << 10, 8),  # 228 KiB
        (16, 1, 0, 32),  # programs
    ],
)
def test_resident_warps_are_those_that_registers_memory_and_programs_leave_room_for(
    registers, num_warps, shared, resident
):
    row = {"registers": registers, "num_warps": num_warps, "shared": shared}
    assert resident_warps(row, GPUS["H100"]) == resident


def test_a_time_is_the_longest_of_products_exponentials_and_bytes():
    h100 = GPUS["H100"]
    assert Work(989e12, 0, 1).microseconds(h100) == pytest.approx(1e6)
    assert Work(1, 0, 3.35e12).microseconds(h100) == pytest.approx(1e6)
    assert Work(1, h100.exponentials, 1).microseconds(h100) == pytest.approx(1e6)


def test_no_op_of_ours_moves_more_bytes_than_the_composition():
    assert all(ours.bytes <= theirs.bytes for ours, theirs in works().values())
