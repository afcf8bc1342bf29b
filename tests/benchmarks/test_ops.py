"""All contenders of an op compute the same."""

import pytest
import torch

from benchmarks import ops
from benchmarks.ops import topk_one_user

from .tiny import tiny_batch, tiny_work

# Without dropout, as no peer drops the elements that we drop; and not 10 million items.
OPTIONS = {
    "attention": {"dropout": 0.0},
    "residual_layer_norm": {"dropout": 0.0},
    "embedding_layer_norm": {"dropout": 0.0},
}
OPTIONS |= {"topk_one_user": {"num_items": 40}}
OPS = {case.op: case for case in ops.CASES.values()}


@pytest.mark.parametrize(
    ("op", "peer"), [(op, peer) for op, case in OPS.items() for peer in case.peers]
)
def test_a_peer_computes_what_the_op_computes(op, peer):
    case, work = OPS[op], tiny_work(OPS[op].work)
    if "linear_cross_entropy" in peer and not hasattr(torch.nn.functional, "linear_cross_entropy"):
        pytest.skip("torch is older than 2.13")
    batch = tiny_batch(work)
    ours, theirs = (
        case.module.CONTENDERS[name](work, **OPTIONS.get(op, {})) for name in ("b4r_fast", peer)
    )
    ours.load(batch)
    theirs.load(batch)
    out, their_out = ours.forward(), theirs.forward()
    if not ours.differentiable:
        scores, rows = (tensor.flatten(0, -1) for tensor in out)
        torch.testing.assert_close(their_out[0].flatten(), scores)
        assert torch.equal(their_out[1].flatten(), rows)
        return
    torch.testing.assert_close(theirs.canonical(batch, their_out), out)
    ours.incoming = torch.randn_like(out)
    padded = their_out.detach().requires_grad_()  # what comes in at padding must be 0
    (theirs.incoming,) = torch.autograd.grad(theirs.canonical(batch, padded), padded, ours.incoming)
    for gradient, their_gradient in zip(
        ours.backward(out), theirs.backward(their_out), strict=True
    ):
        their_gradient = (
            theirs.canonical(batch, their_gradient)
            if gradient.shape != their_gradient.shape
            else their_gradient
        )
        torch.testing.assert_close(their_gradient, gradient, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("case", ops.CASES.values(), ids=lambda case: case.title)
def test_every_op_says_what_limits_it_and_how_much_is_useful(case):
    work = tiny_work(case.work)
    count = case.module.count(work, tiny_batch(work))
    assert case.module.LIMIT in ("fma", "bandwidth")
    assert all(useful > 0 for useful in count.values())


def test_the_table_of_10_million_items_has_no_two_rows_alike():
    items = topk_one_user._inputs(tiny_work(), 250_000)[1]
    assert (items[0] != items[100_000]).all()
