"""The loss over the catalogue against torch's cross entropy and an fp64 oracle."""

import sys

import pytest
import torch
from torch.nn.functional import cross_entropy

from b4r_fast import ops


def tensors(n: int, v: int, d: int, dtype=torch.float32) -> list[torch.Tensor]:
    return [torch.randn(shape, dtype=dtype, requires_grad=True) for shape in ((n, d), (v, d), (v,))]


# One item only; sizes off any tile; more rows than items.
@pytest.mark.parametrize(("n", "v", "d"), [(1, 1, 4), (5, 7, 3), (130, 67, 16)])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_it_is_the_cross_entropy(n, v, d, reduction):
    hidden, items, bias = tensors(n, v, d)
    targets = torch.randint(v, (n,))
    targets[::3] = -100
    targets[0] = 0
    ours = ops.softmax_loss(hidden, items, bias, targets, reduction=reduction)
    theirs = cross_entropy(hidden @ items.T + bias, targets, reduction=reduction)
    torch.testing.assert_close(ours, theirs)
    wanted = (hidden, items, bias)
    torch.testing.assert_close(
        torch.autograd.grad(ours.square().sum(), wanted),
        torch.autograd.grad(theirs.square().sum(), wanted),
        rtol=1e-4,
        atol=1e-6 * float(theirs.detach().abs().max()),
    )


def test_logits_in_blocks_of_rows_give_the_same(monkeypatch):
    hidden, items, bias = tensors(23, 9, 4)
    targets = torch.randint(9, (23,))

    def gradients():
        loss = ops.softmax_loss(hidden, items, bias, targets)
        return loss, *torch.autograd.grad(loss, (hidden, items, bias))

    whole = gradients()
    monkeypatch.setattr(sys.modules["b4r_fast.backends.reference.softmax_loss"], "BLOCK_LOGITS", 40)
    torch.testing.assert_close(gradients(), whole)


def test_a_frozen_table_gets_no_gradient():
    hidden, items, bias = tensors(5, 7, 3)
    ops.softmax_loss(hidden, items.detach(), bias.detach(), torch.arange(5)).backward()
    assert hidden.grad is not None
    assert items.grad is None


@pytest.mark.parametrize("target", [-1, 7, -101])
def test_a_target_that_is_no_row_is_refused(target):
    hidden, items, bias = tensors(2, 7, 3)
    with pytest.raises(
        ValueError, match=f"targets must be rows of items, 0 to 6, or -100; got {target}"
    ):
        ops.softmax_loss(hidden, items, bias, torch.tensor([3, target]))


def test_an_unknown_reduction_is_refused():
    hidden, items, bias = tensors(2, 7, 3)
    with pytest.raises(
        ValueError, match="reduction must be one of 'mean', 'sum', 'none', got 'average'"
    ):
        ops.softmax_loss(hidden, items, bias, torch.tensor([3, 4]), reduction="average")
