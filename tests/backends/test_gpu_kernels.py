"""The kernels for GPUs: as accurate as the reference, in every dtype, whatever the sizes.

Every op in every dtype, and a model that trains, are tests for everybody; the rest, marked kernels,
proves the kernels (tests/lanes). Where there is no GPU, Triton's run in its interpreter, and the
CUDA ones as they are compiled for the CPU (tests/cuda_on_cpu).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from b4r_fast import BERT4Rec, BERT4RecConfig, PackedSequences, ops, use_backend
from b4r_fast.backends import backends, cuda

from ..ops.accuracy import FLOOR, assert_as_accurate_as_the_reference, error, results
from ..ops.held import held
from ..ops.native import POISON, poison
from ..ops.shaped import SHAPED, Sizes

BACKENDS = [name for name in ("triton", "cuda") if backends()[name].startswith("available")]
DEVICES = {"cuda": cuda.DEVICES}
if "triton" in BACKENDS:
    from b4r_fast.backends import triton
    from b4r_fast.backends.triton import attention, rows, tiles

    from ..without_a_gpu import interpreter

    DEVICES["triton"] = triton.DEVICES
    if not torch.cuda.is_available():
        interpreter.install()

pytestmark = [
    pytest.mark.long,
    # A softmax over nothing but the target.
    pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning"),
]

OPERATOR = {
    "attention_of_some_queries": "attention",
    "sampled_softmax_loss_with_private_negatives": "sampled_softmax_loss",
}
HELD = {
    backend: [
        name for name in SHAPED if {OPERATOR.get(name, name), f"{name}_backward"} & held(backend)
    ]
    for backend in BACKENDS
}
NOT_DIFFERENTIABLE = (
    "sample_negatives",
    "cloze_mask",
    "select_labelled",
    "token_positions",
    "adamw_rows",
    "topk",
    "rank",
)
ATTENTION = ["attention", "attention_of_some_queries", "joint_attention"]


def kernels(which=lambda name: True, *, marks=pytest.mark.kernels):
    """Every backend with every op of these that it holds."""
    held = [(backend, name) for backend in BACKENDS for name in HELD[backend] if which(name)]
    return pytest.mark.parametrize(
        ("backend", "name"), [pytest.param(*each, id="-".join(each), marks=marks) for each in held]
    )


def differentiable(name: str) -> bool:
    return name not in NOT_DIFFERENTIABLE


def backends_with(name: str):
    held = [backend for backend in BACKENDS if name in HELD[backend]]
    return pytest.mark.parametrize(
        "backend", [pytest.param(backend, marks=pytest.mark.kernels) for backend in held]
    )


SIZES = st.builds(
    Sizes,
    lengths=st.lists(st.integers(0, 40), max_size=3)
    .filter(lambda lengths: max(lengths, default=0) != 1)
    .map(tuple),
    heads=st.integers(1, 2),
    head_size=st.integers(8, 64),
    intermediate=st.integers(1, 100),
    items=st.integers(1, 150),
    negatives=st.integers(1, 70),
    dropout_p=st.sampled_from([0.0, 0.3]),
    reduction=st.sampled_from(["mean", "sum", "none"]),
)


@pytest.fixture(autouse=True)
def _backend(backend, device):
    """Memory that nobody has written is full of NaN: an accuracy that is right has read none."""
    if device.type not in DEVICES[backend]:
        pytest.skip("compiled for a GPU, the kernels take no tensors of the CPU")
    with use_backend(backend), pytest.MonkeyPatch.context() as patch:
        poison(patch)
        yield


@contextmanager
def small_blocks(backend: str) -> Iterator[None]:
    """In which most shapes take several, and programs that meet at their edges; those of CUDA are
    as they are compiled.
    """
    with pytest.MonkeyPatch.context() as patch:
        if backend == "triton":
            patch.setattr(tiles, "tile", lambda *_: tiles.Tile(16, 16, 4))
            patch.setattr(tiles, "fits", lambda *_: True)
            patch.setattr(attention, "MOST_ROWS", 32)
            patch.setattr(rows, "CHUNK", 4)
        yield


@kernels()
# Shrinking would take minutes.
@settings(derandomize=True, deadline=None, max_examples=5, phases=[Phase.generate])
@given(SIZES)
def test_any_sizes_are_as_accurate_as_pytorch(backend, name, device, sizes):
    torch.manual_seed(0)
    with small_blocks(backend):
        assert_as_accurate_as_the_reference(
            *SHAPED[name](replace(sizes, device=device)), device=device, draws=2, most_draws=4
        )


# A head below the 16 columns that a product takes, the paper's, and the largest; lengths past every
# block, and past what the backward holds of a sequence.
@pytest.mark.parametrize(
    ("head_size", "lengths"), [(8, (70, 0, 33)), (32, (257, 3)), (64, (130, 1)), (128, (130, 5))]
)
@kernels(lambda name: name in ATTENTION)
def test_every_form_of_attention_is_as_accurate_as_pytorch(
    backend, name, head_size, lengths, device
):
    sizes = Sizes(lengths=lengths, heads=1, head_size=head_size, dropout_p=0.2, device=device)
    assert_as_accurate_as_the_reference(*SHAPED[name](sizes), device=device, draws=1)


# A part of a block of columns, and all of the largest.
@pytest.mark.parametrize("hidden", [96, 256])
@kernels(lambda name: name not in ATTENTION)
def test_wide_rows_are_as_accurate_as_pytorch(backend, name, hidden, device):
    sizes = Sizes(
        lengths=(40, 30),
        heads=1,
        head_size=hidden,
        intermediate=4 * hidden,
        items=100,
        device=device,
    )
    assert_as_accurate_as_the_reference(*SHAPED[name](sizes), device=device, draws=1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@kernels(marks=())
def test_every_dtype_is_as_accurate_as_pytorchs(backend, name, dtype, device):
    """Against the reference in the same dtype, which rounds between its steps; both against the
    reference in fp64 on the same numbers.
    """
    sizes = Sizes(
        lengths=(33, 8),
        head_size=32,
        intermediate=70,
        items=100,
        negatives=30,
        dropout_p=0.1,
        device=device,
    )
    call, shapes = SHAPED[name](sizes)
    tensors = [torch.randn(shape).to(device, dtype) for shape in shapes]
    with use_backend("reference"):
        theirs, oracle = results(call, dtype, tensors), results(call, torch.float64, tensors)
    for ours, other, exact in zip(results(call, dtype, tensors), theirs, oracle, strict=True):
        assert error(ours, exact) <= max(2 * error(other, exact), 2 * torch.finfo(dtype).eps, FLOOR)


@kernels()
def test_everything_is_written(backend, name, device):
    """Outputs and workspaces filled with NaN, or a strange integer, before the kernels run come
    back without any.
    """
    call, shapes = SHAPED[name](
        Sizes(lengths=(70, 0, 5), head_size=20, dropout_p=0.3, device=device)
    )
    tensors = [torch.randn(shape).to(device) for shape in shapes]
    assert all((t.isfinite() & (t != POISON)).all() for t in results(call, torch.float32, tensors))


@kernels()
def test_two_runs_give_the_same_bits(backend, name, device):
    call, shapes = SHAPED[name](
        Sizes(lengths=(70, 0, 5), head_size=20, dropout_p=0.3, device=device)
    )
    tensors = [torch.randn(shape).to(device) for shape in shapes]
    assert all(map(torch.equal, *(results(call, torch.float32, tensors) for _ in range(2))))


@kernels(differentiable)
def test_gradients_as_autograd_hands_them_over_serve(backend, name, device):
    """Expanded from one number, as those of a sum are, and strided; inputs that are slices; and
    none of them is written to.
    """
    call, shapes = SHAPED[name](
        Sizes(lengths=(40, 0, 5), head_size=20, dropout_p=0.3, reduction="none", device=device)
    )
    tensors = [torch.randn(*shape[:-1], 2 * shape[-1]).to(device)[..., ::2] for shape in shapes]
    before = [t.clone() for t in tensors]
    inputs = [t.detach().requires_grad_() for t in tensors]
    out = call(*inputs)
    ones = torch.ones(*out.shape[:-1], 2 * out.shape[-1], device=device)
    contiguous, *others = (
        torch.autograd.grad(out, inputs, g, retain_graph=True)
        for g in (
            ones[..., : out.shape[-1]].contiguous(),
            torch.ones((), device=device).expand(out.shape),
            ones[..., ::2],
        )
    )
    assert all(
        torch.equal(ours, theirs) for other in others for ours, theirs in zip(other, contiguous)
    )
    assert all(map(torch.equal, tensors, before))
    assert (ones == 1).all()


@pytest.mark.parametrize("lengths", [(), (0, 0, 0)])
@kernels()
def test_zero_tokens_give_nothing_and_gradients_of_0(backend, name, lengths, device):
    call, shapes = SHAPED[name](Sizes(lengths=lengths, dropout_p=0.3, device=device))
    out, *gradients = results(
        call, torch.float32, [torch.randn(shape).to(device) for shape in shapes]
    )
    if name != "sample_negatives":  # which knows no tokens
        assert (out == 0).all()
    assert all((g == 0).all() for g in gradients)


@kernels(lambda name: "softmax" in name or name in ("embedding_layer_norm", "topk", "rank"))
def test_a_catalogue_of_one_item_serves(backend, name, device):
    assert_as_accurate_as_the_reference(
        *SHAPED[name](Sizes(items=1, device=device)), device=device, most_draws=4
    )


@kernels(lambda name: name.startswith("sampled"))
def test_without_a_negative_there_is_no_loss_and_no_gradient(backend, name, device):
    call, shapes = SHAPED[name](Sizes(negatives=0, device=device))
    tensors = [torch.randn(shape).to(device) for shape in shapes]
    assert all((t == 0).all() for t in results(call, torch.float32, tensors))


@kernels(lambda name: name.startswith("sampled") or name == "embedding_layer_norm")
def test_rows_that_many_entries_name_are_as_accurate_as_pytorchs(backend, name, device):
    """As the mask's row is: more than are summed in one piece, and so many that the pieces' order
    would show.
    """
    sizes = Sizes(lengths=(90, 60), items=3, device=device)
    assert_as_accurate_as_the_reference(*SHAPED[name](sizes), device=device, draws=1, most_draws=2)


@backends_with("attention")
def test_offsets_of_tokens_that_lie_far_apart_do_not_overflow(backend, device):
    """One token, so nothing lies there; but the block's other rows have offsets past 2^31."""
    q, k, v = (
        torch.randn(1, 1, 16).to(device).as_strided((1, 1, 16), (1 << 28, 16, 1)).requires_grad_()
        for _ in range(3)
    )
    out = ops.attention(q, k, v, torch.tensor([0, 1], dtype=torch.int32, device=device), 1)
    assert torch.equal(out, v)
    assert torch.equal(torch.autograd.grad(out.sum(), v)[0], torch.ones_like(v))


@backends_with("sample_negatives")
@pytest.mark.parametrize("sampler", ["uniform", "log_uniform", "popularity"])
def test_it_draws_the_negatives_of_the_reference(backend, sampler, device):
    seed = torch.tensor(-77_000_000_001, device=device)
    counts = torch.arange(1000, device=device) % 7 if sampler == "popularity" else None

    def draw():
        return ops.sample_negatives((70, 9), 1000, sampler=sampler, counts=counts, seed=seed)

    with use_backend("reference"):
        negatives, log_q = draw()
    ours = draw()
    assert torch.equal(ours[0], negatives)
    torch.testing.assert_close(ours[1], log_q, rtol=1e-6, atol=1e-6)


@backends_with("topk")
@pytest.mark.parametrize("k", [1, 10, 70, 200])
@pytest.mark.parametrize("has_bias", [True, False])
def test_topk_leaves_out_what_is_excluded_and_breaks_ties_by_row(backend, k, has_bias, device):
    hidden, items, bias = (
        t.to(device)
        for t in (torch.randn(3, 8).round(), torch.randn(90, 8).round(), torch.zeros(90))
    )
    items[40:50] = items[30:40]
    bias[7], bias[8] = torch.nan, -torch.inf
    bias = bias if has_bias else None
    exclude = (
        torch.tensor([3, 1, 3, 89, 0, 5, 7], device=device),
        torch.tensor([0, 4, 4, 7], dtype=torch.int32, device=device),
    )
    with use_backend("reference"):
        scores, best = ops.topk(hidden, items, bias, k, exclude=exclude)
    ours = ops.topk(hidden, items, bias, k, exclude=exclude)
    assert torch.equal(ours[1], best)
    torch.testing.assert_close(ours[0], scores, equal_nan=True)


@backends_with("rank")
@pytest.mark.parametrize("has_bias", [True, False])
def test_rank_leaves_out_what_is_excluded_once(backend, has_bias, device):
    hidden, items, bias = (
        torch.randn(shape).round().to(device) for shape in ((5, 8), (90, 8), (90,))
    )
    bias[7] = torch.nan
    bias = bias if has_bias else None
    exclude = (
        torch.tensor([3, 1, 3, 89, 0, 5, 7, 20], device=device),
        torch.tensor([0, 4, 4, 8, 8, 8], dtype=torch.int32, device=device),
    )
    targets = torch.tensor([1, 89, 20, 30, 7], device=device)
    with use_backend("reference"):
        expected = ops.rank(hidden, items, bias, targets, exclude=exclude)
    assert torch.equal(ops.rank(hidden, items, bias, targets, exclude=exclude), expected)


@pytest.mark.parametrize(
    "dtype", [torch.float32, pytest.param(torch.bfloat16, marks=pytest.mark.kernels)]
)
@pytest.mark.parametrize("loss", ["full", "sampled"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_model_trains_as_in_the_reference(backend, loss, dtype, device):
    config = BERT4RecConfig(
        num_items=40,
        max_length=12,
        hidden_size=16,
        num_layers=2,
        num_heads=2,
        hidden_dropout=0.1,
        loss=loss,
        num_negatives=20,
    )
    batch = PackedSequences.from_lists([[1, 5, 9, 41, 7], [41], [3, 41, 8, 2, 2, 41, 6]]).to(device)
    labels = torch.where(batch.values == 41, batch.values.roll(1) % 40 + 1, -100)
    losses = {}
    for name in ("reference", backend):
        torch.manual_seed(0)
        model = BERT4Rec(config).to(device, dtype)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        losses[name] = []
        for step in range(3):
            with use_backend(name):
                loss = model(batch, labels, seed=torch.tensor(step, device=device)).loss
                optimizer.zero_grad()
                loss.backward()
            optimizer.step()
            losses[name].append(loss.item())
    tolerance = 1e-4 if dtype == torch.float32 else 1e-2
    torch.testing.assert_close(
        losses[backend], losses["reference"], rtol=tolerance, atol=tolerance / 10
    )
