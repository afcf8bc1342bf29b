"""What holds for every kernel in C++: right in every instruction set, the same bits for any number
of threads, nothing left unwritten.
"""

import os
import signal
import subprocess
import sys

import pytest
import torch

from b4r_fast import ops, use_backend
from b4r_fast.backends.cpu.instruction_sets import SUPPORTED

from ..ops.accuracy import FLOOR, error
from ..ops.native import (
    POISON,
    assert_passes_in,
    assert_same_bits_for_any_number_of_threads,
    poison,
)
from . import large_cases
from .large_cases import ALL_LARGE, LARGE_CASES, LARGE_CHOICES, results, tensors

pytestmark = pytest.mark.skipif(not SUPPORTED, reason="the native modules are not built")

# The reference in fp32 is a plain composition of PyTorch's ops; a kernel may be twice as far from
# fp64.
FACTOR = 2.0


@pytest.fixture(scope="module")
def oracle() -> dict[str, list[torch.Tensor]]:
    with use_backend("reference"):
        return {name: results(name, torch.float64) for name in ALL_LARGE}


@pytest.fixture(scope="module")
def allowed(oracle) -> dict[str, list[float]]:
    with use_backend("reference"):
        return {
            name: [max(FACTOR * error(a, b), FLOOR) for a, b in zip(results(name), oracle[name])]
            for name in ALL_LARGE
        }


@pytest.mark.parametrize("isa", SUPPORTED)
def test_every_instruction_set_is_as_accurate_as_pytorch(isa, oracle, allowed, tmp_path):
    """In a process of its own, since the module is chosen at import."""
    command = [sys.executable, "-m", "tests.backends.large_cases", tmp_path / "results.pt"]
    done = subprocess.run(
        command, env=os.environ | {"B4R_FAST_ISA": isa}, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    saved = torch.load(tmp_path / "results.pt")
    for name in ALL_LARGE:
        for i, (ours, exact, limit) in enumerate(zip(saved[name], oracle[name], allowed[name])):
            assert error(ours, exact) <= limit, (
                f"{name}: result {i} of {isa} is {error(ours, exact):.2e} off, allowed {limit:.2e}"
            )


@pytest.mark.parametrize("name", ALL_LARGE)
def test_the_bits_do_not_depend_on_the_number_of_threads_or_the_run(name):
    assert_same_bits_for_any_number_of_threads(lambda: results(name))


@pytest.mark.parametrize("name", ALL_LARGE)
def test_everything_is_written(name, monkeypatch):
    """Outputs filled with NaN, or a strange integer, before the kernels run come back
    without any.
    """
    poison(monkeypatch)
    assert all((t.isfinite() & (t != POISON)).all() for t in results(name))


@pytest.mark.parametrize("name", ALL_LARGE)
def test_inputs_stay_as_they_are(name):
    """Also those that have no gradient, which all cases share."""
    shared = [
        t
        for value in vars(large_cases).values()
        for t in (value if isinstance(value, tuple) else (value,))
        if isinstance(t, torch.Tensor)
    ]
    before, inputs = [t.clone() for t in shared], [t.requires_grad_() for t in tensors(name)]
    out = ALL_LARGE[name][0](*inputs)
    if name in LARGE_CASES:
        torch.autograd.grad(out.square().sum(), inputs)
    assert all(
        torch.equal(a, b) for a, b in zip(shared + inputs, before + tensors(name), strict=True)
    )


@pytest.mark.parametrize("name", LARGE_CASES)
def test_the_backward_runs_twice_and_gives_the_same(name):
    inputs = [t.requires_grad_() for t in tensors(name)]
    out = LARGE_CASES[name][0](*inputs)
    first = torch.autograd.grad(out.square().sum(), inputs, retain_graph=True)
    second = torch.autograd.grad(out.square().sum(), inputs)
    assert all(torch.equal(a, b) for a, b in zip(first, second))


@pytest.mark.parametrize("name", LARGE_CASES)
def test_expanded_and_strided_incoming_gradients_serve(name):
    inputs = [t.requires_grad_() for t in tensors(name)]
    out = LARGE_CASES[name][0](*inputs)
    ones = torch.ones_like(out)
    expected = torch.autograd.grad(out, inputs, ones, retain_graph=True)
    expanded = torch.autograd.grad(out, inputs, torch.ones(()).expand(out.shape), retain_graph=True)
    strided = torch.autograd.grad(out, inputs, torch.ones(*out.shape, 2)[..., 0])
    for gradients in (expanded, strided):
        assert all(torch.equal(a, b) for a, b in zip(expected, gradients))


# Where PyTorch's own loops take part over enough numbers to be parallel: it is they that hang in a
# child.
RUNS_IN_PYTORCH = (
    "sampled_softmax_loss of many rows",
    "sampled_softmax_loss with private negatives",
    "sample_negatives",
    "sample_negatives by popularity",
)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize("name", [name for name in ALL_LARGE if name not in RUNS_IN_PYTORCH])
def test_it_works_after_a_fork(name):
    """libgomp's threads do not survive a fork: a child that waited for them would hang for ever."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    inputs = [t.requires_grad_() for t in tensors(name)]
    incoming = results(name)[0]  # any of the result's shape, made before the fork

    def run() -> list[torch.Tensor]:
        out = ALL_LARGE[name][0](*inputs)
        if name in LARGE_CHOICES:
            return list(out) if isinstance(out, tuple) else [out]
        return [out.detach(), *torch.autograd.grad(out, inputs, incoming)]

    before = [t.numpy() for t in run()]
    child = os.fork()
    if child == 0:
        # A child that hangs must end by itself: pytest's own handler of the alarm would wait for
        # Python to go on.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(20)
        os._exit(0 if all((a == b.numpy()).all() for a, b in zip(before, run())) else 1)
    torch.set_num_threads(threads)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


COUNT_THREADS = """
import os, torch
from tests.backends.large_cases import ALL_LARGE, results
def threads_after(name, allowed):
    torch.set_num_threads(allowed)
    results(name)
    return len(os.listdir("/proc/self/task"))
threads_after(next(iter(ALL_LARGE)), 1)
alone = len(os.listdir("/proc/self/task"))
for name in ALL_LARGE:
    assert threads_after(name, 1) == alone, name
for more, name in enumerate(ALL_LARGE, 1):
    assert threads_after(name, 1 + more) == alone + more, name
"""


@pytest.mark.skipif(
    not os.path.isdir("/proc/self/task"), reason="this system does not list threads"
)
def test_threads_follow_torch_set_num_threads():
    """In a process of its own, whose threads are counted: one stays one, and every op in turn is
    allowed one more, and starts it.
    """
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "MKL_"))
    }
    done = subprocess.run(
        [sys.executable, "-c", COUNT_THREADS],
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr


def denormals_and_roundings() -> list[torch.Tensor]:
    """What flushed denormals or another rounding mode would change: in this thread's scalars, and
    in vectors of every thread.

    As bits: a thread that flushes takes a denormal for equal to 0.
    """
    many = torch.full((1 << 18,), 1.0)
    eps = torch.finfo(torch.float32).eps
    scalars = torch.tensor(
        [5e-324 * 1.0, 1 + 2.0**-60, -1 - 2.0**-60, 1 + 1.5 * 2.0**-53], dtype=torch.float64
    )
    vectors = many * 1e-40, many * 1e-30 * 1e-10, many + eps / 8, -many - eps / 8, many + 0.75 * eps
    return [scalars.view(torch.int64), *(t.view(torch.int32) for t in vectors)]


@pytest.mark.parametrize("threads", [1, 2])
def test_denormals_are_kept_and_the_rounding_mode_is_left_alone(threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        expected = denormals_and_roundings()
        assert all(t.all() for t in expected)
        for name in ALL_LARGE:
            results(name)
            assert all(torch.equal(a, b) for a, b in zip(denormals_and_roundings(), expected)), name
    finally:
        torch.set_num_threads(before)


def small_numbers_stay_small_numbers() -> None:
    """Below 2^-126 a kernel that flushed would leave 0."""
    x = torch.full((40, 24), 2.0**-130)
    eye, zero = torch.eye(24), torch.zeros(24)
    cu = torch.tensor([0, 40], dtype=torch.int32)
    heads = x.view(40, 2, 12)
    for y in (
        ops.linear(x, eye, zero),
        ops.dropout(x, dropout_p=1e-6, seed=torch.tensor(1)),
        ops.topk(x, eye, None, 1)[0],
        ops.gelu_ffn(x, eye, zero, eye, zero) * 2,
        ops.attention(heads, heads, heads, cu, 40),
    ):
        torch.testing.assert_close(y / 2.0**-120, torch.full_like(y, 2.0**-10), rtol=1e-4, atol=0)


@pytest.mark.parametrize("isa", SUPPORTED)
def test_denormal_inputs_are_not_flushed(isa):
    assert_passes_in(isa, small_numbers_stay_small_numbers)
