"""One call of every op, large enough for several tasks and sizes off every tile; and its results.

python -m tests.backends.large_cases FILE saves the results of all, for a process with another
B4R_FAST_ISA to compare with.
"""

import sys
from collections.abc import Callable

import torch

from b4r_fast import ops

SEED = torch.tensor(-77_000_000_123)
LENGTHS = [0, 1, 300, 17, 64, 2, 113, 0, 250, 16, 31]
CU = torch.tensor([0, *LENGTHS]).cumsum(0).int()
T = sum(LENGTHS)
ROWS_PER_SEQUENCE = [min(n, 5) for n in LENGTHS]
CU_Q = torch.tensor([0, *ROWS_PER_SEQUENCE]).cumsum(0).int()
R = sum(ROWS_PER_SEQUENCE)


def targets(n: int, v: int) -> torch.Tensor:
    drawn = torch.randint(v, (n,), generator=torch.Generator().manual_seed(4))
    drawn[::7] = -100
    return drawn


# Some of them hits, some drawn more than once.
NEGATIVES = torch.randint(500, (211,), generator=torch.Generator().manual_seed(6))
LOG_Q = torch.linspace(-3, 0, 211, dtype=torch.float64)
PRIVATE = torch.randint(300, (130, 21), generator=torch.Generator().manual_seed(6))
VALUES = torch.randint(700, (T,), generator=torch.Generator().manual_seed(7))
POSITIONS = torch.cat([torch.arange(n) for n in LENGTHS])
PAIRS = torch.arange(0, T + 1, 2).int()  # sequences of two, more than a task
EXCLUDE = (
    torch.randint(999, (5 * 300,), generator=torch.Generator().manual_seed(8)),
    torch.arange(0, 5 * 300 + 1, 5).int(),
)

# Name: the op as a function of its differentiable tensors, and their shapes.
LARGE_CASES: dict[str, tuple[Callable, list[tuple[int, ...]]]] = {
    "attention": (lambda q, k, v: ops.attention(q, k, v, CU, 300), [(T, 2, 32)] * 3),
    "attention with dropout": (
        lambda q, k, v: ops.attention(q, k, v, CU, 300, dropout_p=0.2, seed=SEED),
        [(T, 3, 10)] * 3,
    ),
    "attention of some rows": (
        lambda q, k, v: ops.attention(
            q, k, v, CU, 300, cu_seqlens_q=CU_Q, dropout_p=0.2, seed=SEED
        ),
        [(R, 2, 20), (T, 2, 20), (T, 2, 20)],
    ),
    "attention with large scores": (
        lambda q, k, v: ops.attention(q * 9, k * 9, v, CU, 300),
        [(T, 2, 16)] * 3,
    ),
    "joint_attention": (
        lambda joint: ops.joint_attention(joint, CU, 300, dropout_p=0.2, seed=SEED),
        [(T, 3, 2, 16)],
    ),
    "joint_attention of some rows": (
        lambda q, joint: ops.joint_attention(joint, CU, 300, q=q, cu_seqlens_q=CU_Q),
        [(R, 2, 16), (T, 2, 2, 16)],
    ),
    "dropout": (lambda x: ops.dropout(x, dropout_p=0.2, seed=SEED), [(1000, 45)]),
    "embedding_layer_norm": (
        lambda *tensors: ops.embedding_layer_norm(
            VALUES, POSITIONS, *tensors, eps=1e-6, dropout_p=0.2, seed=SEED
        ),
        [(700, 45), (300, 45), (45,), (45,)],
    ),
    "linear": (ops.linear, [(2500, 40), (150, 40), (150,)]),
    "gelu_ffn": (ops.gelu_ffn, [(2500, 40), (150, 40), (150,), (40, 150), (40,)]),
    "gelu_ffn of many hidden columns": (
        lambda *tensors: ops.gelu_ffn(*tensors, approximate="tanh"),
        [(200, 33), (600, 33), (600,), (33, 600), (33,)],
    ),
    "linear_gelu_layer_norm": (
        lambda *tensors: ops.linear_gelu_layer_norm(*tensors, eps=1e-6),
        [(1000, 40), (45, 40), (45,), (45,), (45,)],
    ),
    "linear_gelu_layer_norm with tanh": (
        lambda *tensors: ops.linear_gelu_layer_norm(*tensors, eps=1e-6, approximate="tanh"),
        [(300, 24), (64, 24), (64,), (64,), (64,)],
    ),
    "residual_ffn_layer_norm": (
        lambda *tensors: ops.residual_ffn_layer_norm(*tensors, eps=1e-6, dropout_p=0.2, seed=SEED),
        [(700, 40), (150, 40), (150,), (40, 150), (40,), (40,), (40,)],
    ),
    "residual_linear_layer_norm": (
        lambda *tensors: ops.residual_linear_layer_norm(
            *tensors, eps=1e-6, dropout_p=0.2, seed=SEED
        ),
        [(700, 24), (45, 24), (45,), (700, 45), (45,), (45,)],
    ),
    "residual_layer_norm": (
        lambda *tensors: ops.residual_layer_norm(*tensors, eps=1e-6, dropout_p=0.2, seed=SEED),
        [(1000, 45), (1000, 45), (45,), (45,)],
    ),
    "sampled_softmax_loss": (
        lambda h, c, b: ops.sampled_softmax_loss(
            h, c, b, targets(400, 500), NEGATIVES, log_q=LOG_Q.to(h.dtype)
        ),
        [(400, 24), (500, 24), (500,)],
    ),
    # More rows than torch sums in one thread.
    "sampled_softmax_loss of many rows": (
        lambda h, c: ops.sampled_softmax_loss(h, c, None, targets(50_000, 500), NEGATIVES[:9]),
        [(50_000, 5), (500, 5)],
    ),
    "sampled_softmax_loss of rows": (
        lambda h, c: ops.sampled_softmax_loss(
            h, c, None, targets(90, 500), NEGATIVES, reduction="none"
        ),
        [(90, 30), (500, 30)],
    ),
    "sampled_softmax_loss with private negatives": (
        lambda h, c, b: ops.sampled_softmax_loss(
            h, c, b, targets(130, 300), PRIVATE, reduction="none"
        ),
        [(130, 24), (300, 24), (300,)],
    ),
    "sampled_softmax_loss with private negatives and log_q": (
        lambda h, c, b: ops.sampled_softmax_loss(
            h, c, b, targets(130, 300), PRIVATE, log_q=LOG_Q[:21].to(h.dtype).expand(130, 21)
        ),
        [(130, 77), (300, 77), (300,)],
    ),
    "softmax_loss": (
        lambda h, c, b: ops.softmax_loss(h, c, b, targets(700, 1003)),
        [(700, 24), (1003, 24), (1003,)],
    ),
    "softmax_loss without bias": (
        lambda h, c: ops.softmax_loss(h, c, None, targets(300, 999), reduction="sum"),
        [(300, 30), (999, 30)],
    ),
    "softmax_loss of rows": (
        lambda h, c, b: ops.softmax_loss(h, c, b, targets(410, 777), reduction="none"),
        [(410, 24), (777, 24), (777,)],
    ),
    # Logits from 0, where exponents need no maximum, to a hundred.
    "softmax_loss with large logits": (
        lambda h, c, b: ops.softmax_loss(
            h * 4, c * torch.linspace(0, 5, 1003, dtype=c.dtype)[:, None], b, targets(300, 1003)
        ),
        [(300, 24), (1003, 24), (1003,)],
    ),
    "softmax_loss of rows with large logits": (
        lambda h, c, b: ops.softmax_loss(
            h * 4,
            c * torch.linspace(0, 5, 1003, dtype=c.dtype)[:, None],
            b,
            targets(300, 1003),
            reduction="none",
        ),
        [(300, 24), (1003, 24), (1003,)],
    ),
    "softmax_loss of few rows": (
        lambda h, c, b: ops.softmax_loss(h, c, b, targets(5, 5000), reduction="none"),
        [(5, 24), (5000, 24), (5000,)],
    ),
}

# The same for what has no gradient: several results, or one.
LARGE_CHOICES: dict[str, tuple[Callable, list[tuple[int, ...]]]] = {
    "cloze_mask": (
        lambda: ops.cloze_mask(VALUES, PAIRS, mask_prob=0.3, last_only=0.2, mask_id=701, seed=SEED),
        [],
    ),
    "rank": (
        lambda h, c, b: ops.rank(h, c, b, targets(300, 999).clamp(min=0), exclude=EXCLUDE),
        [(300, 24), (999, 24), (999,)],
    ),
    "sample_negatives": (lambda: ops.sample_negatives((7, 900), 999, seed=SEED), []),
    "sample_negatives by popularity": (
        lambda: ops.sample_negatives(5000, T, sampler="popularity", counts=POSITIONS, seed=SEED)[0],
        [],
    ),
    "topk": (
        lambda h, c, b: ops.topk(h, c, b, 10, exclude=EXCLUDE),
        [(300, 24), (999, 24), (999,)],
    ),
    "topk of candidates": (
        lambda h, c: ops.topk(h, c, None, 10, candidates=PRIVATE),
        [(130, 24), (300, 24)],
    ),
}
ALL_LARGE = LARGE_CASES | LARGE_CHOICES


def tensors(name: str) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(shape, generator=generator) * 0.5 for shape in ALL_LARGE[name][1]]


def results(name: str, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    """The op's results, and the gradients for one incoming gradient."""
    inputs = [t.to(dtype).requires_grad_() for t in tensors(name)]
    out = ALL_LARGE[name][0](*inputs)
    if name in LARGE_CHOICES:
        return list(out) if isinstance(out, tuple) else [out]
    incoming = torch.randn(out.shape, generator=torch.Generator().manual_seed(5)).to(dtype)
    return [out.detach(), *torch.autograd.grad(out, inputs, incoming)]


if __name__ == "__main__":
    torch.save({name: results(name) for name in ALL_LARGE}, sys.argv[1])
