"""What the CUDA kernels alone do: sizes that cross their blocks, splits and lists.

The tests named small run in a few blocks: tests/backends/test_cuda_sanitizers.py runs them under
ThreadSanitizer, to which a thread of a GPU is half a millisecond.
"""

import pytest
import torch

from b4r_fast import ops, use_backend
from b4r_fast.backends import backends, cuda

from ..ops.accuracy import error, results
from ..ops.native import POISON, poison

if not backends()["cuda"].startswith("available"):
    pytest.skip(backends()["cuda"], allow_module_level=True)

pytestmark = pytest.mark.kernels

DTYPES = [torch.float32, torch.bfloat16, torch.float16]
SEED = torch.tensor(-77_000_000_001)


@pytest.fixture(autouse=True)
def _cuda(device):
    if device.type not in cuda.DEVICES:
        pytest.skip("compiled for a GPU, the kernels take no tensors of the CPU")
    with use_backend("cuda"), pytest.MonkeyPatch.context() as patch:
        poison(patch)
        yield


def integers(*shape: int) -> torch.Tensor:
    """So small that sums of their products are exact in fp32, and they are themselves in halves."""
    return torch.randint(-3, 4, shape).float()


def lists(users: int, num_items: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """For every third user some items to leave out, with repetitions."""
    lengths = torch.tensor([7 * (user % 3 == 0) for user in range(users)])
    return torch.randint(num_items, (int(lengths.sum()),)).to(device), torch.cat(
        (torch.zeros(1), lengths.cumsum(0))
    ).int().to(device)


def assert_topk_is_exact(dtype, device, *, users: int, num_items: int, d: int, k: int) -> None:
    hidden, items, bias = (
        integers(users, d).to(device),
        integers(num_items, d).to(device),
        integers(num_items).to(device),
    )
    exclude = lists(users, num_items, device)
    with use_backend("reference"):
        scores, rows = ops.topk(hidden, items, bias, k, exclude=exclude)
    ours = ops.topk(hidden.to(dtype), items.to(dtype), bias.to(dtype), k, exclude=exclude)
    assert torch.equal(ours[1], rows)
    assert torch.equal(ours[0], scores.to(dtype))


def assert_rank_is_exact(dtype, device, *, users: int, num_items: int, d: int) -> None:
    hidden, items, bias = (
        integers(users, d).to(device),
        integers(num_items, d).to(device),
        integers(num_items).to(device),
    )
    targets, exclude = (
        torch.randint(num_items, (users,)).to(device),
        lists(users, num_items, device),
    )
    with use_backend("reference"):
        expected = ops.rank(hidden, items, bias, targets, exclude=exclude)
    assert torch.equal(
        ops.rank(hidden.to(dtype), items.to(dtype), bias.to(dtype), targets, exclude=exclude),
        expected,
    )


def assert_loss_is_accurate(
    dtype, device, *, negatives: torch.Tensor, num_items: int, d: int, sparse: bool = False
) -> None:
    """With rows without a target, and negatives that are it."""
    n = negatives.shape[0]
    targets = torch.randint(num_items, (n,))
    targets[2::4] = -100
    negatives[:, 0] = targets.clamp(min=0)
    targets, negatives, log_q = (
        targets.to(device),
        negatives.to(device),
        -torch.rand(negatives.shape).to(device),
    )

    def call(hidden, items, bias):
        arguments = {"log_q": log_q.to(hidden.dtype), "reduction": "none", "sparse": sparse}
        return ops.sampled_softmax_loss(hidden, items, bias, targets, negatives, **arguments)

    tensors = [
        torch.randn(shape).to(device, dtype) for shape in ((n, d), (num_items, d), (num_items,))
    ]
    with use_backend("reference"):
        theirs, oracle = results(call, dtype, tensors), results(call, torch.float64, tensors)
    for ours, other, exact in zip(results(call, dtype, tensors), theirs, oracle, strict=True):
        ours, other, exact = (t.to_dense() for t in (ours, other, exact))
        assert error(ours, exact) <= max(2 * error(other, exact), 2 * torch.finfo(dtype).eps)


# Rows that are aligned to 16 bytes, of several stages of columns; and rows that are not.
@pytest.mark.parametrize("d", [72, 9])
@pytest.mark.parametrize("dtype", DTYPES)
def test_small_topk_is_exact(dtype, d, device):
    assert_topk_is_exact(dtype, device, users=9, num_items=300, d=d, k=40)
    assert_topk_is_exact(dtype, device, users=2, num_items=200, d=d, k=70)


@pytest.mark.parametrize("d", [72, 9])
@pytest.mark.parametrize("dtype", DTYPES)
def test_small_rank_is_exact(dtype, d, device):
    assert_rank_is_exact(dtype, device, users=9, num_items=300, d=d)


@pytest.mark.parametrize("d", [24, 9])
@pytest.mark.parametrize("dtype", DTYPES)
def test_small_loss_is_accurate(dtype, d, device):
    """Entries of one row of the table that fill several warps, so that partial sums are joined."""
    negatives = torch.randint(50, (5, 60))
    negatives[:, 20:] = 3
    assert_loss_is_accurate(dtype, device, negatives=negatives, num_items=50, d=d)


@pytest.mark.parametrize("sampler", ["uniform", "log_uniform", "popularity"])
def test_small_samples_are_the_references(sampler, device):
    """An odd number of draws; counts most of which are 0."""
    counts = torch.arange(1000, device=device) % 7 // 6 * 1000 if sampler == "popularity" else None

    def draw():
        return ops.sample_negatives(
            (11, 51), 1000, sampler=sampler, counts=counts, seed=SEED.to(device)
        )

    with use_backend("reference"):
        rows, log_q = draw()
    ours = draw()
    assert torch.equal(ours[0], rows)
    torch.testing.assert_close(ours[1], log_q, rtol=1e-6, atol=1e-6)


def test_small_masks_are_the_references(device):
    """A sequence that begins and ends within a call of Philox, an empty one, one of padding alone,
    a long one.
    """
    values = torch.arange(1, 301, device=device)
    values[10:30] = 0
    cu_seqlens = torch.tensor([0, 1, 3, 3, 10, 30, 299, 300], dtype=torch.int32, device=device)

    def mask(last_only):
        return ops.cloze_mask(
            values,
            cu_seqlens,
            mask_prob=0.2,
            last_only=last_only,
            mask_id=999,
            seed=SEED.to(device),
        )

    for last_only in (0.0, 0.5, 1.0):
        with use_backend("reference"):
            expected = mask(last_only)
        assert all(map(torch.equal, mask(last_only), expected))


# One that is kept, a power of two and its neighbours, the end of the wide blocks and what is
# beyond, the most, more than there are items.
@pytest.mark.parametrize("k", [1, 31, 32, 33, 64, 65, 300, 1000, 1024])
def test_topk_keeps_up_to_1024(k, device):
    assert_topk_is_exact(torch.float32, device, users=3, num_items=5000, d=8, k=k)
    assert_topk_is_exact(torch.bfloat16, device, users=10, num_items=900, d=8, k=k)


# One user and as many as a block has, and one more; one item, a tile and one more.
@pytest.mark.parametrize("users", [1, 8, 32, 33])
@pytest.mark.parametrize("num_items", [1, 128, 129])
def test_blocks_of_users_and_items_meet_at_their_edges(users, num_items, device):
    for dtype in (torch.float32, torch.bfloat16):
        assert_topk_is_exact(dtype, device, users=users, num_items=num_items, d=16, k=5)
        assert_rank_is_exact(dtype, device, users=users, num_items=num_items, d=16)


# A stage of columns and one more, by 16 bytes and by one; the most.
@pytest.mark.parametrize("d", [64, 65, 72, 129, 512])
@pytest.mark.parametrize("dtype", DTYPES)
def test_products_of_any_depth_are_exact(dtype, d, device):
    assert_topk_is_exact(dtype, device, users=2, num_items=140, d=d, k=10)
    assert_rank_is_exact(dtype, device, users=2, num_items=140, d=d)


def test_scores_that_keep_rising_all_get_in(device):
    """Every item is better than all before it, so the buffers fill again and again; then the
    reverse.
    """
    numbers = torch.arange(3000, device=device)
    for items, best in ((numbers, numbers.flip(0)), (-numbers, numbers)):
        scores, rows = ops.topk(torch.ones(1, 1, device=device), items[:, None].float(), None, 100)
        assert torch.equal(rows[0], best[:100])
        assert torch.equal(scores[0], items[best[:100]].float())


# The widths that have a form of their own, for fp32 and for halves, and one more than each; the
# most in vectors and by one.
@pytest.mark.parametrize(
    "d", [32, 40, 64, 72, 128, 136, 256, 264, 512, 520, 1024, 1032, 127, 129, 511, 513]
)
def test_the_loss_of_rows_of_any_width_is_accurate(d, device):
    for dtype in (torch.float32, torch.bfloat16):
        assert_loss_is_accurate(
            dtype, device, negatives=torch.randint(20, (6, 30)), num_items=20, d=d
        )


# In vectors they would serve 1,024 columns, one by one 512: a view that begins between two vectors
# was once left without its last columns.
@pytest.mark.parametrize("d", [64, 520])
def test_rows_that_begin_anywhere_serve(d, device):
    targets, negatives = (
        torch.arange(4, device=device),
        torch.arange(20, device=device).reshape(4, 5),
    )
    whole = [torch.randn(n * d).to(device, torch.bfloat16) for n in (4, 20)]
    moved = [torch.cat((t[:1], t))[1:] for t in whole]
    assert all(t.data_ptr() % 16 for t in moved)

    def run(tensors):
        tables = [t.view(-1, d) for t in tensors]
        return results(
            lambda *t: ops.sampled_softmax_loss(*t, None, targets, negatives),
            torch.bfloat16,
            tables,
        )

    for ours, exact in zip(run(moved), run(whole)):
        assert error(ours, exact) <= 2 * torch.finfo(torch.bfloat16).eps


# None but the target's hits, one, and numbers around what a block has under way.
@pytest.mark.parametrize("count", [1, 2, 15, 16, 17, 64, 65, 200])
def test_the_loss_over_any_number_of_negatives_is_accurate(count, device):
    assert_loss_is_accurate(
        torch.float32, device, negatives=torch.randint(1, 30, (7, count)), num_items=30, d=16
    )


# Every entry one row; entries that fill chunks of 32 to the last; runs of a chunk each.
@pytest.mark.parametrize("period", [1, 2, 31, 32, 33])
@pytest.mark.parametrize("sparse", [False, True])
def test_sums_of_long_runs_are_joined(period, sparse, device):
    negatives = (torch.arange(32 * 63).reshape(32, 63) // max(period - 1, 1)) % period
    assert_loss_is_accurate(
        torch.float32, device, negatives=negatives, num_items=40, d=8, sparse=sparse
    )


def test_the_bits_do_not_depend_on_the_run(device):
    hidden, items, bias = (torch.randn(shape).to(device) for shape in ((40, 16), (60, 16), (60,)))
    targets, negatives = torch.randint(60, (40,)).to(device), torch.randint(5, (40, 50)).to(device)

    def run():
        return results(
            lambda *t: ops.sampled_softmax_loss(*t, targets, negatives),
            torch.float32,
            [hidden, items, bias],
        )

    assert all(map(torch.equal, run(), run()))
    assert all((t.isfinite() & (t != POISON)).all() for t in run())


# A guide of one part, of some, and of as many as there are items; one item that takes nearly all.
@pytest.mark.parametrize(("draws", "num_items"), [(3, 1000), (900, 1000), (9000, 50), (2000, 1)])
def test_draws_by_popularity_are_the_references(draws, num_items, device):
    for counts in (torch.arange(num_items) + 1, 10 ** (torch.arange(num_items) % 16)):
        counts = counts.to(device)
        with use_backend("reference"):
            expected = ops.sample_negatives(
                draws, num_items, sampler="popularity", counts=counts, seed=SEED.to(device)
            )[0]
        assert torch.equal(
            ops.sample_negatives(
                draws, num_items, sampler="popularity", counts=counts, seed=SEED.to(device)
            )[0],
            expected,
        )


def test_what_the_kernels_do_not_serve_others_do(device):
    hidden, items = integers(3, 600).to(device), integers(50, 600).to(device)
    candidates = torch.arange(20, device=device)
    with use_backend("reference"):
        expected = (
            ops.topk(hidden, items, None, 5),
            ops.topk(hidden[:, :8], items[:, :8], None, 5, candidates=candidates),
        )
    ours = (
        ops.topk(hidden, items, None, 5),
        ops.topk(hidden[:, :8], items[:, :8], None, 5, candidates=candidates),
    )
    assert all(torch.equal(a, b) for x, y in zip(ours, expected) for a, b in zip(x, y))
