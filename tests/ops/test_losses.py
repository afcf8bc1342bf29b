"""What holds for the loss over the catalogue and over sampled negatives alike, in every
reduction.
"""

from collections.abc import Callable

import pytest
import torch

from b4r_fast import ops

from .native import poison


def full(hidden, items, bias, targets, reduction, weights=None):
    return ops.softmax_loss(hidden, items, bias, targets, reduction=reduction, weights=weights)


def shared(hidden, items, bias, targets, reduction, weights=None):
    """All items are negatives, so the loss is the full one."""
    return ops.sampled_softmax_loss(
        hidden,
        items,
        bias,
        targets,
        torch.arange(items.shape[0], device=items.device),
        weights=weights,
        reduction=reduction,
    )


def private(hidden, items, bias, targets, reduction, weights=None):
    negatives = torch.arange(items.shape[0], device=items.device).expand(hidden.shape[0], -1)
    return ops.sampled_softmax_loss(
        hidden, items, bias, targets, negatives, reduction=reduction, weights=weights
    )


@pytest.fixture(params=[full, shared, private], ids=lambda loss: loss.__name__)
def loss(request) -> Callable:
    return request.param


@pytest.fixture(params=["mean", "sum", "none"])
def reduction(request) -> str:
    return request.param


def tensors(n: int, v: int, d: int, device: torch.device) -> list[torch.Tensor]:
    return [torch.randn(shape).to(device).requires_grad_() for shape in ((n, d), (v, d), (v,))]


@pytest.mark.parametrize("value", [1.0, torch.nan])
def test_without_any_target_the_loss_is_0_and_so_are_the_gradients(
    loss, reduction, value, device, monkeypatch
):
    """Even where the rows without a target are not numbers."""
    poison(monkeypatch)
    (hidden, items, bias), targets = tensors(4, 6, 3, device), torch.full((4,), -100, device=device)
    out = loss(hidden * value, items, bias, targets, reduction)
    assert (out == 0).all()
    assert all(
        (g == 0).all() for g in torch.autograd.grad(out.sum(), (items, bias), retain_graph=True)
    )
    assert value != 1.0 or not torch.autograd.grad(out.sum(), hidden)[0].any()
    with torch.no_grad():
        assert (loss(hidden * value, items, bias, targets, reduction) == 0).all()


def test_no_rows_at_all_give_0_and_gradients_of_0(loss, reduction, device):
    inputs = tensors(0, 6, 3, device)
    out = loss(*inputs, torch.empty(0, dtype=torch.int64, device=device), reduction)
    assert out.sum() == 0
    assert all((g == 0).all() for g in torch.autograd.grad(out.sum(), inputs))


@pytest.mark.parametrize("margin", [15.0, 40.0])
@pytest.mark.parametrize("keep_gradients", [True, False])
def test_a_row_that_is_nearly_certain_keeps_its_digits(
    loss, reduction, margin, keep_gradients, device
):
    """1 - p cancels when it is computed from p: at a margin of 40, fp32 and even fp64
    would say 0.
    """
    hidden = torch.tensor([[1.0]], device=device, requires_grad=True)
    items = torch.tensor([[margin], [0.0]], device=device, requires_grad=True)
    with torch.set_grad_enabled(keep_gradients):
        out = loss(hidden, items, None, torch.tensor([0], device=device), reduction).sum()
    expected = torch.tensor(-margin, dtype=torch.float64, device=device).exp().log1p()
    torch.testing.assert_close(out.double(), expected, rtol=1e-5, atol=0)
    if keep_gradients:
        dhidden, ditems = torch.autograd.grad(out, (hidden, items))
        q = 1 / (1 + torch.tensor(margin, dtype=torch.float64, device=device).exp())
        torch.testing.assert_close(dhidden.double(), (-q * margin).reshape(1, 1), rtol=1e-5, atol=0)
        torch.testing.assert_close(
            ditems.double(), torch.stack([-q, q]).reshape(2, 1), rtol=1e-5, atol=0
        )


def test_the_rows_add_up_to_the_sum_and_the_mean_counts_rows_with_a_target(loss, device):
    inputs, targets = tensors(50, 70, 8, device), torch.arange(50, device=device)
    targets[::3] = -100
    rows, total, mean = (loss(*inputs, targets, reduction) for reduction in ("none", "sum", "mean"))
    assert rows.shape == (50,)
    assert (rows[::3] == 0).all()
    torch.testing.assert_close(rows.sum(), total)
    torch.testing.assert_close(total / (targets >= 0).sum(), mean)


@pytest.mark.parametrize("spare_gradients", [False, True])
def test_a_weight_is_what_a_row_counts(loss, reduction, spare_gradients, device):
    """As if it stood there so often; a row without a target counts nothing in the mean."""
    inputs, targets = tensors(50, 70, 8, device), torch.arange(50, device=device)
    targets[::3] = -100
    weights = torch.arange(50, device=device) % 4
    again = torch.arange(50, device=device).repeat_interleave(weights)
    with torch.set_grad_enabled(not spare_gradients):
        weighted = loss(*inputs, targets, reduction, weights=weights.float())
        repeated = loss(inputs[0][again], *inputs[1:], targets[again], reduction)
    torch.testing.assert_close(weighted.sum(), repeated.sum())
    if not spare_gradients:
        for ours, theirs in zip(
            *(torch.autograd.grad(out.sum(), inputs) for out in (weighted, repeated))
        ):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_weights_of_0_give_a_loss_of_0_and_no_gradient(loss, reduction, device):
    inputs, targets = tensors(5, 7, 3, device), torch.arange(5, device=device)
    out = loss(*inputs, targets, reduction, weights=torch.zeros(5, device=device))
    assert (out == 0).all()
    assert not any(g.any() for g in torch.autograd.grad(out.sum(), inputs))


def test_weights_of_another_kind_are_refused(loss, reduction, device):
    inputs, targets = tensors(5, 7, 3, device), torch.arange(5, device=device)
    for weights in (torch.ones(4, device=device), targets, [1.0] * 5):
        with pytest.raises(ValueError, match="weights must"):
            loss(*inputs, targets, reduction, weights=weights)


def test_what_an_earlier_batch_left_in_memory_changes_nothing(loss, reduction, device):
    """Lanes that pad a panel of rows read it, and once multiplied it by 0, which NaN survives."""
    inputs, targets = tensors(37, 300, 24, device), torch.arange(37, device=device)
    spoilt = [torch.full_like(x, torch.nan).requires_grad_() for x in tensors(192, 300, 24, device)]
    loss(*spoilt, torch.zeros(192, dtype=torch.int64, device=device), reduction).sum().backward()
    out = loss(*inputs, targets, reduction, weights=torch.ones(37, device=device)).sum()
    assert all(g.isfinite().all() for g in (out, *torch.autograd.grad(out, inputs)))


def test_large_logits_do_not_overflow(loss, reduction, device):
    hidden, items, bias = tensors(5, 7, 3, device)
    assert (
        loss(hidden * 1000, items, bias, torch.arange(5, device=device), reduction).isfinite().all()
    )


def test_biases_far_beyond_what_an_exponential_holds_serve(loss, reduction, device):
    """The lanes that pad a panel of rows have logits too, the biases: once their exponentials were
    NaN, times 0.
    """
    hidden, items, _ = tensors(3, 20, 8, device)
    bias = torch.linspace(88.7, 89.1, 20).to(device).requires_grad_()
    inputs, targets = (hidden, items, bias), torch.tensor([0, 19, 7], device=device)
    wide = [t.detach().double().requires_grad_() for t in inputs]
    ours, oracle = loss(*inputs, targets, reduction).sum(), loss(*wide, targets, reduction).sum()
    torch.testing.assert_close(ours.double(), oracle, rtol=1e-6, atol=0)
    for g, exact in zip(
        torch.autograd.grad(ours, inputs), torch.autograd.grad(oracle, wide), strict=True
    ):
        torch.testing.assert_close(g.double(), exact, rtol=0, atol=1e-4)


def test_the_gradient_of_a_mean_in_fp16_does_not_overflow_where_that_of_the_sum_would(loss, device):
    hidden = torch.full((4000, 1), 60.0, dtype=torch.float16, device=device)
    items = torch.zeros(2, 1, dtype=torch.float16, device=device, requires_grad=True)
    out = loss(hidden, items, None, torch.zeros(4000, dtype=torch.int64, device=device), "mean")
    ditems = torch.autograd.grad(out, items)[0]
    torch.testing.assert_close(
        ditems.float(), torch.tensor([[-30.0], [30.0]], device=device), rtol=1e-2, atol=0
    )
