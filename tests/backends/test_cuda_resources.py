"""What nvcc has made of the CUDA kernels, without a GPU."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ..without_a_gpu.cuda_resources import SHARED_MEMORY, module, short_name

pytestmark = pytest.mark.kernels

PRODUCTS = ("best_kernel", "count_kernel", "excluded_kernel")


@pytest.fixture(scope="module")
def rows() -> dict[str, list[dict]]:
    if module() is None and shutil.which("nvcc") is None:
        pytest.skip("there was no nvcc when the package was built")
    command = [sys.executable, "-m", "tests.without_a_gpu.cuda_resources"]
    done = subprocess.run(
        command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    rows: dict[str, list[dict]] = {}
    for line in done.stdout.splitlines():
        for kind, row in json.loads(line).items():
            rows.setdefault(kind, []).append(row)
    return rows


def test_every_kernel_is_compiled_for_every_gpu_and_none_spills(rows, found):
    for row in rows["compiled"]:
        found(
            f"{row['kernel']} on {row['arch']}",
            most_registers=row["registers"],
            spills=row["spills"],
            tensor_core=row["tensor_core"],
        )
    names = {row["kernel"] for row in rows["compiled"]}
    assert {row["arch"] for row in rows["compiled"]} == {"sm_80", "sm_90", "sm_100"}
    assert len(rows["compiled"]) == 3 * len(names)
    assert [row for row in rows["compiled"] if row["spills"]] == []


def test_products_of_halves_are_made_in_tensor_cores(rows):
    products = [
        row
        for row in rows["compiled"]
        if row["kernel"].startswith(PRODUCTS) and "<float" not in row["kernel"]
    ]
    assert len(products) == 3 * 2 * 4  # GPUs, dtypes; two widths of topk's, and rank's two
    assert all(row["tensor_core"] for row in products)


def test_no_block_asks_for_more_shared_memory_than_an_a100_has(rows, found):
    for row in rows["widest"]:
        found(f"{row['kernel']} at its widest", threads=row["threads"], most_shared=row["shared"])
    assert {row["kernel"].partition("<")[0] for row in rows["widest"]} > set(PRODUCTS)
    assert max(row["shared"] for row in rows["widest"]) <= SHARED_MEMORY


def test_every_op_launches_kernels_that_were_compiled(rows):
    launched = {row["kernel"].partition("<")[0] for row in rows["launched"]}
    assert launched == {row["kernel"].partition("<")[0] for row in rows["compiled"]}


@pytest.mark.parametrize(
    ("demangled", "name"),
    [
        (
            "void b4r::cuda::(anonymous namespace)::best_kernel<__half,"
            " 8>(b4r::cuda::Catalogue<__half>, int)",
            "best_kernel<__half, 8>",
        ),
        (
            "b4r::cuda::_GLOBAL__N__18d4_13_cloze_mask_cu_58::mask_kernel(long const*)",
            "mask_kernel",
        ),
        (
            "void b4r::cuda::f_kernel<b4r::cuda::(anonymous namespace)::Row<float, 4, 8, 1> >(int)",
            "f_kernel<Row<float, 4, 8, 1>>",
        ),
    ],
)
def test_kernels_are_told_apart_by_what_they_are_made_for(demangled, name):
    assert short_name(demangled) == name
