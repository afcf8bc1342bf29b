"""Attention over packed sequences against torch's own, one sequence at a time."""

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from b4r_fast import backends, ops, use_backend
from b4r_fast.backends.cpu.instruction_sets import SUPPORTED

from .native import assert_passes_in

H, D = 2, 16


def packed(
    lengths: list[int], device: torch.device | str = "cpu"
) -> tuple[list[torch.Tensor], torch.Tensor]:
    total = sum(lengths)
    cu_seqlens = torch.tensor([0, *lengths], device=device).cumsum(0).int()
    return [torch.randn(total, H, D).to(device).requires_grad_() for _ in range(3)], cu_seqlens


# One token, empty sequences at either end and inside, a length past a tile of 64, all together.
@pytest.mark.parametrize("lengths", [[1], [5, 3], [0, 4, 0, 0, 2, 0], [65, 1, 130]])
def test_each_sequence_attends_to_itself_alone(lengths):
    (q, k, v), cu_seqlens = packed(lengths)
    out = ops.attention(q, k, v, cu_seqlens, max(lengths))
    sequences = zip(*(x.split(lengths) for x in (q, k, v)))
    parts = [
        scaled_dot_product_attention(*(x[None].transpose(1, 2) for x in sequence))
        for sequence in sequences
        if len(sequence[0])
    ]
    expected = torch.cat([part.transpose(1, 2)[0] for part in parts])
    torch.testing.assert_close(out, expected)
    dout = torch.randn_like(out)
    torch.testing.assert_close(
        torch.autograd.grad(out, (q, k, v), dout), torch.autograd.grad(expected, (q, k, v), dout)
    )


def test_dropout_drops_probabilities_and_scales_the_others():
    (q, k, _), cu_seqlens = packed([16, 16])
    v = torch.eye(16).repeat(2, 1)[:, None].expand(32, H, D).contiguous()
    plain = ops.attention(q, k, v, cu_seqlens, 16)
    dropped = ops.attention(q, k, v, cu_seqlens, 16, dropout_p=0.25, seed=torch.tensor(1))
    kept = dropped != 0
    assert 0.6 < kept.double().mean() < 0.9
    torch.testing.assert_close(dropped[kept], plain[kept] / 0.75)


def masks_are_those_of_the_reference(chosen: str = "cpu"):
    """With one-hot values a result is 0 where its probability was dropped, and with one-hot
    incoming gradients the gradient of v is.
    """
    lengths = [1, 100, 0, 300, 7]  # keys past an octet, a tile and a block
    random = torch.Generator().manual_seed(1)
    q, k = (torch.randn(sum(lengths), 2, 100, generator=random) / 4 for _ in range(2))
    cu_seqlens = torch.tensor([0, *lengths]).cumsum(0).int()
    place = torch.cat([torch.arange(n) for n in lengths])
    for first in (0, 100, 200):
        one_hot = torch.zeros(sum(lengths), 2, 100)
        inside = (place >= first) & (place < first + 100)
        one_hot[inside, :, place[inside] - first] = 1
        masks = []
        for backend in (chosen, "reference"):
            v = one_hot.clone().requires_grad_()
            with use_backend(backend):
                out = ops.attention(
                    q, k, v, cu_seqlens, 300, dropout_p=0.3, seed=torch.tensor(-9_000_000_001)
                )
                masks.append([out == 0, torch.autograd.grad(out, v, one_hot)[0] == 0])
        assert all(torch.equal(ours, theirs) for ours, theirs in zip(*masks))
        assert all(0 < mask.double().mean() < 1 for mask in masks[0])


@pytest.mark.parametrize("isa", SUPPORTED)
def test_every_instruction_set_drops_the_elements_of_the_reference(isa):
    assert_passes_in(isa, masks_are_those_of_the_reference)


@pytest.mark.skipif(not backends()["triton"].startswith("available"), reason=backends()["triton"])
def test_triton_drops_the_elements_of_the_reference():
    masks_are_those_of_the_reference("triton")


def test_some_queries_get_what_they_get_among_all(device):
    (q, k, v), cu_seqlens = packed([4, 3, 5], device)
    asking, cu_asking = (
        torch.tensor([1, 3, 7, 10], device=device),
        torch.tensor([0, 2, 2, 4], dtype=torch.int32, device=device),
    )
    some = ops.attention(q[asking], k, v, cu_seqlens, 5, cu_seqlens_q=cu_asking)
    torch.testing.assert_close(some, ops.attention(q, k, v, cu_seqlens, 5)[asking])


def test_queries_of_a_sequence_without_keys_get_zero(device):
    q, k = (
        torch.randn(2, H, D, device=device, requires_grad=True),
        torch.randn(0, H, D, device=device),
    )
    none, both = torch.tensor([[0, 0], [0, 2]], dtype=torch.int32, device=device)
    out = ops.attention(q, k, k, none, 2, cu_seqlens_q=both)
    assert torch.equal(out, torch.zeros_like(out))
    (dq,) = torch.autograd.grad(out.sum(), q)
    assert torch.equal(dq, torch.zeros_like(dq))


def test_large_scores_do_not_overflow(device):
    (q, k, v), cu_seqlens = packed([20], device)
    out = ops.attention(q * 100, k * 100, v, cu_seqlens, 20)
    assert out.isfinite().all()


def test_slices_of_one_projection_serve_as_they_are(device):
    qkv = torch.randn(9, 3, H, D).to(device)
    q, k, v = qkv.unbind(1)
    cu_seqlens = torch.tensor([0, 4, 9], dtype=torch.int32, device=device)
    whole = ops.attention(q.contiguous(), k.contiguous(), v.contiguous(), cu_seqlens, 5)
    assert torch.equal(ops.attention(q, k, v, cu_seqlens, 5), whole)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": torch.randn(8, H, D)}, r"v must have shape \(T, H, D\) with T=8"),
        (
            {"q": torch.randn(7, H, D, dtype=torch.float64)},
            "q must have the dtype of the other tensors, torch.float32",
        ),
        ({"cu_seqlens": torch.tensor([0, 3, 7])}, "cu_seqlens must have torch.int32"),
        (
            {"cu_seqlens": torch.tensor([0, 3, 6], dtype=torch.int32)},
            "end with the number of elements, 7; got 0 and 6",
        ),
        (
            {"cu_seqlens": torch.tensor([0, 5, 3, 7], dtype=torch.int32)},
            "cu_seqlens must not decrease",
        ),
        (
            {"max_seqlen": 3},
            "max_seqlen must be at least the longest sequence of cu_seqlens, 4; got 3",
        ),
    ],
)
def test_wrong_arguments_are_named(change, message):
    good = {name: torch.randn(7, H, D) for name in "qkv"} | {
        "cu_seqlens": torch.tensor([0, 3, 7], dtype=torch.int32),
        "max_seqlen": 4,
    }
    with pytest.raises(ValueError, match=message):
        ops.attention(**good | change)
