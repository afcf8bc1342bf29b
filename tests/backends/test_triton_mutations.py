"""That the checks of the Triton kernels see: each of these planted faults is found."""

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest
import torch

from b4r_fast.backends import backends, reference

if not backends()["triton"].startswith("available") or (
    torch.cuda.is_available() and "ttsem" not in sys.modules
):
    pytest.skip("for Triton's interpreter and ttsem", allow_module_level=True)

from b4r_fast.backends import triton as backend
from b4r_fast.backends.triton import tiles

from ..without_a_gpu.interpreter import Fault, install

IN_TTSEM = "ttsem" in sys.modules  # --on ttsem

if not IN_TTSEM:
    install()

pytestmark = [
    pytest.mark.kernels,
    # A split that holds nothing but the target.
    pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning"),
]

EXPECTED = reference.OPERATORS
FOLDER = Path(backend.__file__).parent

NUMBERS, RUN, EITHER = ("numbers",), ("run",), ("numbers", "run")

CU, SEED = torch.tensor([0, 70, 75], dtype=torch.int32), torch.tensor(5)
N, V, D = 70, 150, 24


def attention(op: ModuleType) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    q, dout = torch.randn(2, 75, 2, 16)
    k, v = torch.randn(75, 2, 2, 16).unbind(1)
    sizes = (CU, CU, 70, 70, 0.3, 0.2, SEED)
    out, _ = op.attention(q, k, v, *sizes)
    expected, expected_lse = EXPECTED["attention"](q, k, v, *sizes)
    gradients, expected_gradients = torch.empty(2, 3, 75, 2, 16)
    for write, into in (
        (op.attention_gradients, gradients),
        (EXPECTED["attention_gradients"], expected_gradients),
    ):
        write(dout, q, k, v, expected, expected_lse, *into, *sizes)
    return [out, gradients], [expected, expected_gradients]


def softmax_loss(op: ModuleType) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    hidden, items, bias, targets = (
        torch.randn(N, D),
        torch.randn(V, D),
        torch.randn(V),
        torch.arange(N),
    )
    loss, dhidden, lse = op.softmax_loss(hidden, items, bias, targets)
    expected = EXPECTED["softmax_loss"](hidden, items, bias, targets)
    rest = (torch.ones(N), hidden, items, bias, targets, expected[0], expected[2])
    ours, theirs = op.softmax_loss_backward(*rest), EXPECTED["softmax_loss_backward"](*rest)
    return [loss, dhidden, lse, *ours], [*expected, *theirs]


def gelu_ffn(op: ModuleType) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    dy, x, w1, b1, w2, b2 = (
        torch.randn(shape) for shape in ((N, D), (N, D), (70, D), (70,), (D, 70), (D,))
    )
    ours = [
        op.gelu_ffn(x, w1, b1, w2, b2, "none"),
        *op.gelu_ffn_backward(dy, x, w1, b1, w2, "none"),
    ]
    return ours, [
        EXPECTED["gelu_ffn"](x, w1, b1, w2, b2, "none"),
        *EXPECTED["gelu_ffn_backward"](dy, x, w1, b1, w2, "none"),
    ]


def residual_linear_layer_norm(op: ModuleType) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    dy, a, w, b, x, weight = (
        torch.randn(shape) for shape in ((N, D), (N, 20), (D, 20), (D,), (N, D), (D,))
    )
    dropout = 0.3, torch.tensor(5)
    ours = op.residual_linear_layer_norm(a, w, b, x, weight, b, 1e-6, *dropout)
    expected = EXPECTED["residual_linear_layer_norm"](a, w, b, x, weight, b, 1e-6, *dropout)
    rest = (dy, a, w, x, expected[1], weight, *expected[2:], *dropout)
    gradients = EXPECTED["residual_linear_layer_norm_backward"](*rest)
    return [*ours, *op.residual_linear_layer_norm_backward(*rest)], [*expected, *gradients]


def rank(op: ModuleType) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    hidden, items, targets = torch.randn(N, D).round(), torch.randn(V, D).round(), torch.arange(N)
    arguments = (hidden, items, None, targets, None, None)
    return [op.rank(*arguments)], [EXPECTED["rank"](*arguments)]


def rows(op: ModuleType) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    op.CHUNK = 8
    values, factors, belongs = torch.randn(N, D), torch.rand(N), torch.arange(N) // 30 - 1
    ours = op.segment_sum(values, belongs.sort(stable=True), 3, torch.float32, factors=factors)
    named = belongs >= 0
    return [ours], [
        torch.zeros(3, D).index_add(0, belongs[named], (factors[:, None] * values)[named])
    ]


@dataclass(frozen=True)
class Mutation:
    """fault: what is wrong. check: compares an op with the reference. Of the op's source, `right`
    is replaced by `wrong`.

    seen: what must show it, wrong numbers or the run (a race, an access outside), whose numbers may
    be right; or either.
    """

    fault: str
    check: Callable[[ModuleType], tuple[list[torch.Tensor], list[torch.Tensor]]]
    right: str
    wrong: str
    seen: tuple[str, ...] = NUMBERS


MUTATIONS = (
    Mutation(
        "a mask that lets one key more in",
        attention,
        "key[None, :] < keys, s",
        "key[None, :] <= keys, s",
    ),
    Mutation(
        "a sum that is not rescaled", attention, "acc = acc * factor[:, None] +", "acc = acc +"
    ),
    Mutation(
        "strides swapped",
        attention,
        '{"q_token": q.stride(0), "k_token"',
        '{"k_token": q.stride(0), "q_token"',
        EITHER,
    ),
    Mutation(
        "dropout by the wrong key",
        attention,
        "octets[None, :], head\n            )\n        acc",
        "octets[None, :] + 1, head\n            )\n        acc",
    ),
    Mutation(
        "rows read that do not exist",
        attention,
        "p_x + o_x, (tokens[:, None] < end)",
        "p_x + o_x, (tokens[:, None] < end + 9)",
        RUN,
    ),
    Mutation(
        "a block of rows left out", attention, "if block * ROWS < n:", "if block * ROWS < n - 7:"
    ),
    Mutation(
        "a bias dropped",
        softmax_loss,
        "z += tl.load(p_bias + columns",
        "z += 0.0 * tl.load(p_bias + columns",
    ),
    Mutation(
        "a split that is not rescaled",
        softmax_loss,
        "total = total * factor + tl.load(p_total",
        "total = total + tl.load(p_total",
    ),
    Mutation(
        "the target counted twice",
        softmax_loss,
        "== target[:, None]\n        )\n        z",
        "== target[:, None] - 1\n        )\n        z",
    ),
    Mutation(
        "ranges of rows that overlap",
        softmax_loss,
        "begin = part * rows_of_range",
        "begin = part * (rows_of_range - 1)",
    ),
    Mutation(
        "all ranges stored in one place",
        gelu_ffn,
        "part.to(tl.int64) * (2 * f * d + f)",
        "part.to(tl.int64) * 0",
        RUN,
    ),
    Mutation("panels of the hidden layer not added up", gelu_ffn, "y += tl.dot(a", "y = tl.dot(a"),
    Mutation("masked lanes that are read", gelu_ffn, "m_out, other=0.0)", "m_out)"),
    Mutation(
        "a gradient that forgets the dropout",
        residual_linear_layer_norm,
        "p_da, tl.dot(ds,",
        "p_da, tl.dot(dz.to(a.dtype),",
    ),
    Mutation(
        "counts of all splits in one place",
        rank,
        "p_counts + split.to(tl.int64) * N + rows",
        "p_counts + rows",
        RUN,
    ),
    Mutation(
        "a chunk that is another row's too",
        rows,
        "tl.cdiv(begin, CHUNK), end",
        "begin // CHUNK, end",
    ),
)


def load(op: str, source: str, folder: Path) -> ModuleType:
    """An op's module from other source, beside the true ones."""
    file = folder / f"{op}.py"
    file.write_text(source)
    name = f"{backend.__name__}.mutated_{op}"
    spec = importlib.util.spec_from_file_location(name, file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def seen(check: Callable, module: ModuleType) -> tuple[str, ...]:
    """What shows a fault, nothing if there is none."""
    torch.manual_seed(0)
    try:
        ours, expected = check(module)
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)
    except AssertionError:
        return NUMBERS
    except Exception as error:
        if Fault.__name__ not in repr(
            error
        ):  # nor ttsem's KernelFault: a mutation that is no program
            raise
        return RUN
    return ()


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    monkeypatch.setattr(tiles, "tile", lambda *_: tiles.Tile(32, 16, 4))


@pytest.mark.parametrize(
    "check", [attention, softmax_loss, gelu_ffn, residual_linear_layer_norm, rank, rows]
)
def test_without_a_fault_none_is_found(check, tmp_path):
    assert (
        seen(check, load(check.__name__, (FOLDER / f"{check.__name__}.py").read_text(), tmp_path))
        == ()
    )


# ttsem reads 0 there.
SEEN = [
    mutation
    for mutation in MUTATIONS
    if not (IN_TTSEM and mutation.fault == "masked lanes that are read")
]


@pytest.mark.parametrize("mutation", SEEN, ids=lambda m: m.fault)
def test_a_planted_fault_is_found(mutation, tmp_path, found):
    source = (FOLDER / f"{mutation.check.__name__}.py").read_text()
    assert source.count(mutation.right) == 1, "the mutation no longer fits the source"
    module = load(mutation.check.__name__, source.replace(mutation.right, mutation.wrong), tmp_path)
    shown = seen(mutation.check, module)
    assert shown, "nothing shows it"
    assert set(shown) <= set(mutation.seen)
    found(mutation.fault, seen=" and ".join(shown))
