"""Offsets, and products of sizes, beyond 2^31: what an index of 32 bits would get wrong."""

import mmap
import sys

import pytest
import torch

from b4r_fast import ops

from .cases import CASES, DIFFERENTIABLE

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        not hasattr(mmap, "MAP_PRIVATE"),
        reason="this system maps no memory that it does not reserve",
    ),
]

BEYOND = 2**31


def virtual(size: int) -> torch.Tensor:
    """Zeros that take an address each, and memory only where they are touched."""
    # Python names it from 3.13 on.
    never_reserved = getattr(mmap, "MAP_NORESERVE", 0x4000) if sys.platform == "linux" else 0
    return torch.frombuffer(
        mmap.mmap(-1, 4 * size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | never_reserved),
        dtype=torch.float32,
    )


def spread(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor with its rows so far apart that the last begins beyond 2^31 floats."""
    rows, inner = tensor.shape[0], tensor[0].numel()
    step = BEYOND // (rows - 1) + inner
    apart = virtual(step * (rows - 1) + inner).as_strided(
        tensor.shape, (step, *tensor.stride()[1:])
    )
    return apart.copy_(tensor.detach())


@pytest.mark.parametrize("name", [name for name in CASES if CASES[name].tensors(torch.float32)])
def test_rows_that_lie_far_apart_serve_like_rows_side_by_side(name):
    """As slices of a large tensor do, and incoming gradients too."""
    near = CASES[name].tensors(torch.float32)
    far = [spread(t).requires_grad_(t.requires_grad) for t in near]
    results = []
    for tensors in (near, far):
        out = CASES[name].call(*tensors)
        results.append(list(out) if isinstance(out, tuple) else [out])
        if name in DIFFERENTIABLE:
            dout = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
            dout = spread(dout) if tensors is far and dout.dim() > 0 else dout
            results[-1] += torch.autograd.grad(out, tensors, dout)
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@pytest.fixture
def far_items() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A table of more than 2^31 floats, its last 20 rows in use; those rows, and a table of them
    alone.
    """
    few = torch.randn(20, 8)
    items = virtual(BEYOND + few.numel()).view(-1, 8)
    items[-20:] = few
    return items, torch.arange(len(items) - 20, len(items)), few


def test_candidates_at_the_end_of_a_table_beyond_2_31_floats_are_scored(far_items):
    items, last, few = far_items
    hidden = torch.randn(3, 8)
    scores, rows = ops.topk(hidden, items, None, 5, candidates=last)
    expected, places = ops.topk(hidden, few, None, 5)
    assert torch.equal(scores, expected)
    assert torch.equal(rows, last[places])


@pytest.mark.parametrize("private", [False, True])
def test_negatives_at_the_end_of_a_table_beyond_2_31_floats_are_read(far_items, private):
    items, last, few = far_items
    hidden, targets = torch.randn(20, 8), torch.arange(20).flip(0)
    negatives = torch.randint(20, (20, 6) if private else (6,))
    loss = ops.sampled_softmax_loss(hidden, items, None, last[targets], last[negatives])
    assert torch.equal(loss, ops.sampled_softmax_loss(hidden, few, None, targets, negatives))


def test_embeddings_at_the_end_of_a_table_beyond_2_31_floats_are_read(far_items):
    items, last, few = far_items
    positions, table, weight = torch.arange(20) % 4, torch.randn(4, 8), torch.randn(8)
    ours = ops.embedding_layer_norm(last, positions, items, table, weight, weight, eps=1e-6)
    assert torch.equal(
        ours,
        ops.embedding_layer_norm(torch.arange(20), positions, few, table, weight, weight, eps=1e-6),
    )


# 2.2 x 10^9 scores. The hidden vectors are one power of two each, so scores are exact and the order
# of the items is known.
USERS, ITEMS = 2200, 1_000_000
POWERS = torch.tensor([1.0, -2.0, 0.5, -0.25])


@pytest.fixture(scope="module")
def million() -> torch.Tensor:
    return torch.randn(ITEMS, 1, generator=torch.Generator().manual_seed(1))


def test_users_times_items_beyond_2_31_have_their_best_items(million):
    scores, rows = ops.topk(POWERS.repeat(USERS // 4)[:, None], million, None, 3)
    for i, power in enumerate(POWERS):
        expected = (million[:, 0] * power).sort(descending=True, stable=True)
        assert (rows[i::4] == expected.indices[:3]).all()
        assert (scores[i::4] == expected.values[:3]).all()


def test_users_times_items_beyond_2_31_have_their_ranks(million):
    targets = torch.randint(ITEMS, (USERS,))
    ranks = ops.rank(POWERS.repeat(USERS // 4)[:, None], million, None, targets)
    ascending = million[:, 0].sort().values
    target_scores = million[targets, 0]
    at_least = ITEMS - torch.searchsorted(ascending, target_scores)
    at_most = torch.searchsorted(ascending, target_scores, right=True)
    assert torch.equal(ranks, torch.where(POWERS.repeat(USERS // 4) > 0, at_least, at_most))


@pytest.mark.parametrize("loss", ["softmax_loss", "softmax_loss of rows", "sampled_softmax_loss"])
def test_rows_times_items_beyond_2_31_have_their_loss(million, loss):
    """Four rows, each 550 times: loss and gradients are those of the four."""

    def loss_and_gradients(times: int) -> list[torch.Tensor]:
        hidden, items = (
            POWERS.repeat(times)[:, None].requires_grad_(),
            million.clone().requires_grad_(),
        )
        targets = torch.tensor([3, 500_000, -100, 999_999]).repeat(times)
        if loss == "sampled_softmax_loss":
            mean = ops.sampled_softmax_loss(hidden, items, None, targets, torch.arange(ITEMS))
        elif loss == "softmax_loss":
            mean = ops.softmax_loss(hidden, items, None, targets)
        else:
            mean = ops.softmax_loss(hidden, items, None, targets, reduction="none").sum() / (
                3 * times
            )
        dhidden, ditems = torch.autograd.grad(mean, (hidden, items))
        return [mean.detach(), dhidden.view(times, 4).sum(0), ditems]

    for ours, expected in zip(loss_and_gradients(USERS // 4), loss_and_gradients(1), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-9)


@pytest.fixture(scope="module")
def ten_million() -> torch.Tensor:
    return torch.randn(10_000_000, 4, generator=torch.Generator().manual_seed(2))


def test_ten_million_items_have_their_best_and_their_ranks(ten_million):
    hidden = torch.randn(3, 4)
    scores, rows = ops.topk(hidden, ten_million, None, 5)
    z = hidden.double() @ ten_million.double().T
    best = z.topk(5)
    assert torch.equal(rows, best.indices)
    torch.testing.assert_close(scores.double(), best.values, rtol=1e-6, atol=0)
    assert ops.rank(hidden, ten_million, None, rows[:, 4]).tolist() == [5, 5, 5]


@pytest.mark.parametrize("sampled", [False, True])
def test_ten_million_items_have_their_loss(ten_million, sampled):
    targets = torch.tensor([0, 9_999_999, -100])
    negatives = torch.randint(10_000_000, (1000,))

    def loss(hidden, items):
        if sampled:
            return ops.sampled_softmax_loss(hidden, items, None, targets, negatives)
        return ops.softmax_loss(hidden, items, None, targets)

    hidden, items = torch.randn(3, 4, requires_grad=True), ten_million.requires_grad_()
    ours = loss(hidden, items)
    dhidden, ditems = torch.autograd.grad(ours, (hidden, items))
    rows = negatives if sampled else torch.arange(10_000_000)
    h, c = hidden.detach()[:2].double(), items.detach()
    z = h @ c[rows].double().T
    z = z.masked_fill(rows == targets[:2, None], -torch.inf)
    z = torch.cat([(h * c[targets[:2]]).sum(1, keepdim=True), z], 1)
    torch.testing.assert_close(ours.double(), (z.logsumexp(1) - z[:, 0]).mean(), rtol=1e-6, atol=0)
    p = z.softmax(1) / 2
    q = p[:, 0] - 0.5
    expected = p[:, 1:] @ c[rows].double() + q[:, None] * c[targets[:2]].double()
    torch.testing.assert_close(dhidden[:2].double(), expected, rtol=1e-4, atol=1e-6)
    assert not dhidden[2].any()
    # The column sums of the table's gradient, in which every row takes part; and the targets',
    # where it is largest.
    torch.testing.assert_close(
        ditems.sum(0, dtype=torch.float64), torch.zeros(4, dtype=torch.float64), rtol=0, atol=1e-5
    )
    torch.testing.assert_close(ditems[targets[:2]].double(), q[:, None] * h, rtol=1e-4, atol=1e-6)
