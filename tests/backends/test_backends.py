import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import b4r_fast
from b4r_fast import backends, ops, use_backend
from b4r_fast.backends import cuda, reference, triton

from ..ops.accuracy import results
from ..ops.shaped import SHAPED, Sizes


def test_every_backend_is_reported_with_what_it_holds_or_why_not():
    report = backends()
    assert list(report) == ["reference", "cpu", "triton", "cuda"]
    assert report["reference"].startswith("available (adamw_rows, attention")
    assert report["cpu"].startswith("available (adamw_rows, attention")
    assert all(line.startswith(("available (", "not available: ")) for line in report.values())


def test_an_unknown_backend_is_refused():
    with (
        pytest.raises(
            ValueError, match="backend must be one of reference, cpu, triton, cuda, got 'tpu'"
        ),
        use_backend("tpu"),
    ):
        pass


def test_a_backend_that_is_not_available_says_why(monkeypatch):
    monkeypatch.setattr(cuda, "UNAVAILABLE", "no GPU")
    with (
        pytest.raises(ValueError, match="backend 'cuda' is not available here: no GPU"),
        use_backend("cuda"),
    ):
        pass


def test_what_a_backend_leaves_to_others_goes_to_the_next_one(monkeypatch):
    """Of a GPU's tensors: to Triton, and where that is missing to the reference."""
    monkeypatch.setitem(backends.DEFAULT_ORDER, "cpu", ("cuda", "triton", "reference"))
    x, candidates = torch.randn(1, 30), torch.zeros(1, dtype=torch.int64)
    asked = []
    for name, backend in (("cuda", cuda), ("triton", triton), ("reference", reference)):
        monkeypatch.setitem(
            backend.OPERATORS, "topk", _noted(asked, name, backend.OPERATORS["topk"])
        )
    backends._find.cache_clear()
    try:
        for first, then in (
            ("cuda", ["cuda", "triton", "reference"]),
            ("triton", ["triton", "reference"]),
        ):
            with use_backend(first):
                ops.topk(x, x, None, 1, candidates=candidates)
            assert asked == then
            asked.clear()
    finally:
        backends._find.cache_clear()


def _noted(asked: list[str], name: str, operator):
    def run(*args):
        asked.append(name)
        return operator(*args)

    return run


def test_the_choice_ends_with_the_block_even_after_an_error():
    x, w = torch.randn(40, 64), torch.ones(64)

    def y() -> torch.Tensor:
        return ops.residual_layer_norm(x, x, w, w, eps=1e-6)

    before = y()
    with pytest.raises(RuntimeError, match="stop"), use_backend("reference"):
        raise RuntimeError("stop")
    assert torch.equal(y(), before)


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", SHAPED)
def test_a_dtype_that_the_native_kernels_lack_runs_in_the_reference(name, dtype, reduction):
    call, shapes = SHAPED[name](Sizes(reduction=reduction, dropout_p=0.2))
    tensors = [torch.randn(shape) for shape in shapes]
    with use_backend("cpu"):
        ours = results(call, dtype, tensors)
    with use_backend("reference"):
        assert all(map(torch.equal, ours, results(call, dtype, tensors)))


INTERPRETED = """
import torch
from b4r_fast import ops, use_backend
x, w = torch.randn(9, 16).bfloat16(), torch.randn(5, 16).bfloat16()
with use_backend("triton"):
    y = ops.linear(x, w, w[:, 0])
print(torch.allclose(y.float(), x.float() @ w.float().T + w[:, 0].float(), rtol=0.02, atol=0.02))
"""


def test_tritons_interpreter_is_not_asked_for_products_of_bf16():
    """It multiplies their bits: the backend leaves them to the reference."""
    pytest.importorskip("triton")
    done = subprocess.run(
        [sys.executable, "-c", INTERPRETED],
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout == "True\n", done.stderr


def test_a_backends_is_found_beside_the_report_of_the_same_name():
    import b4r_fast.backends.triton as package

    assert package.__name__ == "b4r_fast.backends.triton"
    assert "cpu" in b4r_fast.backends()


WITHOUT_A_DRIVER = """
import torch
import b4r_fast
print(b4r_fast.backends()["cuda"])
from b4r_fast.backends.cuda import _cuda
try:
    _cuda.cloze_mask(0, 0, 0, 0, 1, 0, 0, 0, 0, 0)
except RuntimeError as error:
    print(error)
try:
    b4r_fast.use_backend("cuda").__enter__()
except ValueError as error:
    print(error)
"""


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_the_module_is_imported_without_a_driver_and_says_what_is_missing():
    if shutil.which("nvcc") is None and not list(Path(cuda.__file__).parent.glob("_cuda.*.so")):
        pytest.skip("there was no nvcc when the package was built")
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_A_DRIVER], capture_output=True, text=True, timeout=120
    )
    report, launch, use = done.stdout.splitlines()
    assert report == "not available: the CUDA module is built, but torch finds no GPU", done.stderr
    assert launch.startswith("CUDA kernel cloze_mask: ")
    assert use.startswith("backend 'cuda' is not available here: the CUDA module is built")
