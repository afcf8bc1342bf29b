"""What Triton's interpreter cannot see: that every launch compiles for real GPUs, keeps in
registers, fits, and uses tensor cores.

Of the kernels with a product, every configuration that the table of tiles can choose; of the
others, and of what surrounds both, the launches of every op in some sizes.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from itertools import product

import pytest
import torch

pytest.importorskip("triton", reason="triton is not installed")

from b4r_fast import ops, use_backend

from ..ops.accuracy import results
from ..ops.shaped import SHAPED, Sizes
from ..without_a_gpu.compiler import DTYPES, LAUNCHED, choose, faults
from ..without_a_gpu.configurations import PRODUCTS

pytestmark = [pytest.mark.kernels, pytest.mark.timeout(30 * 60)]

TARGETS = ("sm_80", "sm_90", "sm_100", "gfx942")
GPUS = [*product(TARGETS, ("bf16", "fp32", "fp16")), ("sm_86", "bf16")]
NORMS = ("residual_layer_norm", "embedding_layer_norm", "dropout")
PAPER = Sizes(lengths=(200, 30), heads=2, head_size=32, intermediate=256, items=3416)


@pytest.fixture(autouse=True)
def _for_the_target(request, target):
    if request.config.getoption("on") != "compiler":
        pytest.skip("for --on compiler")
    choose(target)
    LAUNCHED.clear()
    with use_backend("triton"):
        yield


def run_ops(sizes: Sizes, dtype: str, names: Iterable[str] = SHAPED) -> None:
    for name in names:
        call, sides = SHAPED[name](sizes)
        results(call, DTYPES[dtype], [torch.randn(side) for side in sides])


def run_lists(sizes: Sizes, dtype: str) -> None:
    exclude = torch.arange(sizes.tokens), torch.arange(sizes.tokens + 1, dtype=torch.int32)
    hidden, items = (
        torch.randn(n, sizes.hidden, dtype=DTYPES[dtype]) for n in (sizes.tokens, sizes.items)
    )
    ops.topk(hidden, items, None, 10, exclude=exclude)
    ops.rank(hidden, items, None, exclude[0], exclude=exclude)


def paper(dtype: str) -> None:
    """Every op at the paper's sizes. Another number of tokens compiles nothing anew."""
    for dropout_p in (0.1, 0.0):
        run_ops(replace(PAPER, dropout_p=dropout_p), dtype)
    run_lists(PAPER, dtype)
    known = {id(row) for row in LAUNCHED}
    # No multiple of anything, and one of 16, which a size that is specialised would show.
    for lengths in ((199, 28), (200, 24)):
        run_ops(replace(PAPER, lengths=lengths), dtype)
        run_lists(replace(PAPER, lengths=lengths), dtype)
    assert {f"{row['op']} {row['kernel']}" for row in LAUNCHED if id(row) not in known} == set()
    assert {row["op"] for row in LAUNCHED} >= {
        "attention",
        "gelu_ffn",
        "softmax_loss",
        "residual_layer_norm",
        "topk",
        "rank",
    }


def norms(dtype: str) -> None:
    """From a few columns to more than a block."""
    for dropout_p, hidden in product((0.1, 0.0), (16, 96, 300, 1024, 4096)):
        run_ops(
            Sizes(lengths=(40, 30), heads=1, head_size=hidden, dropout_p=dropout_p), dtype, NORMS
        )


def _unbiased(negatives, hidden, items):
    return ops.sampled_softmax_loss(hidden, items, None, *negatives)


def private_negatives(dtype: str) -> None:
    """With bias and log q and without."""
    for hidden in (16, 31, 128, 250, 256):
        tensors, private = [torch.randn(n, hidden) for n in (70, 90)], torch.arange(9).repeat(70, 1)
        negatives = torch.arange(70), private
        results(partial(_unbiased, negatives), DTYPES[dtype], tensors)
        run_ops(
            Sizes(lengths=(40, 30), heads=1, head_size=hidden),
            dtype,
            ["sampled_softmax_loss_with_private_negatives"],
        )


def together() -> Iterable[list[str]]:
    """The entries of the table of tiles that are for one launch, as a backward of
    several kernels.
    """
    by_launch: dict[Callable, list[str]] = {}
    for key, kernels in PRODUCTS.items():
        by_launch.setdefault(kernels.launch, []).append(key)
    return by_launch.values()


def configurations(keys: list[str], dtype: str) -> None:
    """In all forms, for every number of columns that an entry has a tile for."""
    for d in {d: None for key in keys for d in PRODUCTS[key].columns(key, DTYPES[dtype])}:
        PRODUCTS[keys[0]].launch(d, DTYPES[dtype])


LAUNCHES = {function.__name__: function for function in (paper, norms, private_negatives)}
LAUNCHES |= {" and ".join(keys): partial(configurations, keys) for keys in together()}


@pytest.mark.parametrize("launch", LAUNCHES)
@pytest.mark.parametrize(("target", "dtype"), GPUS)
def test_every_launch_compiles_without_a_fault(target, dtype, launch, found):
    LAUNCHES[launch](dtype)
    rows = list({id(row): row for row in LAUNCHED}.values())
    assert rows
    assert {
        f"{row['op']} {row['kernel']}: {faults(row | {'dtype': dtype})}"
        for row in rows
        if faults(row | {"dtype": dtype})
    } == set()
    most = {f"most_{name}": max(row[name] for row in rows) for name in ("registers", "shared")}
    # One kernel's 12 registers more show in the sum.
    total = {name: sum(row[name] for row in rows) for name in ("registers", "spills")}
    found(f"{launch} in {dtype} on {target}", kernels=len(rows), **most, **total)
