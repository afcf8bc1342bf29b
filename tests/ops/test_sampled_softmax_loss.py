"""The loss over sampled negatives against the full one and a plain composition."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from b4r_fast import ops, use_backend

N, V, D = 9, 13, 4


@pytest.fixture
def tensors() -> list[torch.Tensor]:
    return [
        torch.randn(shape, dtype=torch.float64, requires_grad=True)
        for shape in ((N, D), (V, D), (V,))
    ]


def test_all_items_as_negatives_give_the_full_loss(tensors):
    """The target is among the negatives of every row: the hit is out, so nothing is
    counted twice.
    """
    targets = torch.arange(N)
    sampled = ops.sampled_softmax_loss(*tensors, targets, torch.arange(V), reduction="none")
    full = ops.softmax_loss(*tensors, targets, reduction="none")
    torch.testing.assert_close(sampled, full)
    torch.testing.assert_close(
        torch.autograd.grad(sampled.sum(), tensors), torch.autograd.grad(full.sum(), tensors)
    )


@pytest.mark.parametrize("private", [False, True])
@pytest.mark.parametrize("corrected", [False, True])
def test_it_is_the_cross_entropy_over_target_and_negatives(tensors, private, corrected):
    hidden, items, bias = tensors
    targets = torch.tensor([0, 1, -100, 3, 3, 3, 6, 12, 0])
    negatives = torch.randint(V, (N, 5) if private else (5,))
    log_q = torch.randn(negatives.shape, dtype=torch.float64) if corrected else None
    ours = ops.sampled_softmax_loss(hidden, items, bias, targets, negatives, log_q=log_q)

    drawn = negatives.expand(N, 5)
    z = (
        torch.einsum("nd,nkd->nk", hidden, items[drawn])
        + bias[drawn]
        - (0 if log_q is None else log_q)
    )
    z = z.masked_fill(drawn == targets[:, None], -torch.inf)
    kept = targets.clamp(min=0)
    z = torch.cat([(hidden * items[kept]).sum(1, keepdim=True) + bias[kept][:, None], z], 1)
    theirs = cross_entropy(z, torch.where(targets < 0, -100, 0))
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(
        torch.autograd.grad(ours, tensors), torch.autograd.grad(theirs, tensors)
    )


def test_a_row_whose_negatives_are_all_hits_has_no_loss(tensors):
    loss = ops.sampled_softmax_loss(*tensors, torch.full((N,), 4), torch.tensor([4, 4]))
    assert loss == 0
    assert all((g == 0).all() for g in torch.autograd.grad(loss, tensors))


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize("negatives", [(0,), (N, 0)])
def test_without_a_negative_there_is_no_loss_and_no_gradient(negatives, backend):
    """Shared ones were once told from none by their address, which is null where there are none:
    the targets' rows were looked for in a table of no rows.
    """
    v = 300_000  # its last rows lie far behind anything else
    hidden, items, bias = (
        torch.ones(shape, requires_grad=True) for shape in ((N, 4), (v, 4), (v,))
    )
    with use_backend(backend):
        loss = ops.sampled_softmax_loss(
            *(
                hidden,
                items,
                bias,
                torch.arange(v - N, v),
                torch.zeros(negatives, dtype=torch.int64),
            ),
            log_q=torch.zeros(negatives),
            reduction="sum",
        )
        gradients = torch.autograd.grad(loss, (hidden, items, bias))
    assert loss == 0
    assert all((g == 0).all() for g in gradients)


def test_the_correction_makes_the_sampled_loss_estimate_the_full_one(tensors):
    hidden, items, bias = (t.detach() for t in tensors)
    targets = torch.arange(N)
    full = ops.softmax_loss(hidden, items, bias, targets)
    for sampler in ("uniform", "log_uniform"):
        negatives, log_q = ops.sample_negatives(200_000, V, sampler=sampler, seed=torch.tensor(1))
        others = torch.ones(N, V).scatter(1, targets[:, None], 0.0).log()
        # The estimate of the others' sum leaves the target's draws out, so it agrees with the full
        # loss.
        sampled = ops.sampled_softmax_loss(
            hidden, items, bias, targets, negatives, log_q=log_q.double()
        )
        assert others.isinf().sum() == N
        torch.testing.assert_close(sampled, full, rtol=0.02, atol=0)


def test_a_negative_that_is_no_row_is_refused(tensors):
    with pytest.raises(ValueError, match="negatives must be rows of items, 0 to 12; got 13"):
        ops.sampled_softmax_loss(*tensors, torch.arange(N), torch.tensor([0, 13]))


@pytest.mark.parametrize("private", [False, True])
def test_sparse_gradients_are_the_dense_ones_of_the_rows_that_are_named(private):
    """Bit for bit, and each row once; an ignored target names none."""
    tensors = [torch.randn(shape, requires_grad=True) for shape in ((N, 24), (V, 24), (V,))]
    targets = torch.tensor([0, 1, -100, 3, 3, 3, 6, 11, 0])
    negatives = torch.randint(9, (N, 5) if private else (5,))
    dense, sparse = (
        torch.autograd.grad(
            ops.sampled_softmax_loss(*tensors, targets, negatives, sparse=sparse), tensors
        )
        for sparse in (False, True)
    )
    named = torch.cat([targets[targets >= 0], negatives.flatten()]).unique()
    assert torch.equal(dense[0], sparse[0])
    for whole, rows in zip(dense[1:], sparse[1:]):
        assert rows.is_coalesced()
        assert torch.equal(rows.indices()[0], named)
        assert torch.equal(rows.to_dense(), whole)
