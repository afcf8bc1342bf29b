"""One small call of every op, with tensors that show its shapes; the tests of registration,
autograd and compilation run all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from b4r_fast import ops

T, D, F, H, V, N, K = 11, 8, 12, 2, 13, 7, 5
CU_SEQLENS = [0, 4, 4, 5, 11]  # lengths 4, 0, 1, 6
CU_ROWS = [0, 2, 2, 2, 3]  # rows of q that ask, where not all do


@dataclass(frozen=True)
class Case:
    """call: the op as a function of its differentiable tensors. tensors: makes them,
    for a dtype.
    """

    call: Callable
    tensors: Callable[[torch.dtype], list[torch.Tensor]]


def cases(device: torch.device | str) -> dict[str, Case]:
    def normal(*shapes: tuple[int, ...]) -> Callable[[torch.dtype], list[torch.Tensor]]:
        return lambda dtype: [
            torch.randn(shape, dtype=dtype).to(device).requires_grad_() for shape in shapes
        ]

    def tensor(values, dtype: torch.dtype | None = None) -> torch.Tensor:
        return torch.tensor(values, dtype=dtype, device=device)

    def int32(values: list[int]) -> torch.Tensor:
        return tensor(values, torch.int32)

    seed = tensor(-7_000_000_001)
    values = tensor([3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5])
    positions = tensor([0, 1, 2, 3, 0, 0, 1, 2, 3, 4, 5])
    targets = tensor([0, 12, -100, 3, 3, 7, 1])
    shared = tensor([3, 5, 5, 0, 11])
    private = torch.arange(N * K, device=device).reshape(N, K) % V
    log_q = torch.linspace(-2, 0, K, dtype=torch.float64, device=device)
    weights = torch.linspace(0, 3, N, device=device)

    def adamw_rows(*tensors: torch.Tensor) -> torch.Tensor:
        """The one op that writes in place: into copies."""
        *state, gradient = tensors
        state = [t.clone(memory_format=torch.contiguous_format) for t in state]
        ops.adamw_rows(
            *(*state, tensor([5, 0, 12]), gradient),
            lr=0.1,
            betas=(0.9, 0.99),
            eps=1e-8,
            weight_decay=0.01,
            step=3,
        )
        return torch.stack(state)

    return {
        "adamw_rows": Case(
            adamw_rows,
            lambda dtype: [t.detach().abs() for t in normal((V, D), (V, D), (V, D), (3, D))(dtype)],
        ),
        "attention": Case(
            lambda q, k, v: ops.attention(q, k, v, int32(CU_SEQLENS), 6),
            normal((T, H, D), (T, H, D), (T, H, D)),
        ),
        "attention with dropout": Case(
            lambda q, k, v: ops.attention(q, k, v, int32(CU_SEQLENS), 6, dropout_p=0.3, seed=seed),
            normal((T, H, D), (T, H, D), (T, H, D)),
        ),
        "attention of some queries": Case(
            lambda q, k, v: ops.attention(
                q,
                k,
                v,
                int32(CU_SEQLENS),
                6,
                cu_seqlens_q=int32(CU_ROWS),
                dropout_p=0.3,
                seed=seed,
                scale=0.7,
            ),
            normal((3, H, D), (T, H, D), (T, H, D)),
        ),
        "joint_attention": Case(
            lambda joint: ops.joint_attention(
                joint, int32(CU_SEQLENS), 6, dropout_p=0.3, seed=seed
            ),
            normal((T, 3, H, D)),
        ),
        "joint_attention of some queries": Case(
            lambda q, joint: ops.joint_attention(
                joint, int32(CU_SEQLENS), 6, q=q, cu_seqlens_q=int32(CU_ROWS)
            ),
            normal((3, H, D), (T, 2, H, D)),
        ),
        "linear": Case(lambda x, w, b: ops.linear(x, w, b), normal((T, D), (F, D), (F,))),
        "dropout": Case(lambda x: ops.dropout(x, dropout_p=0.3, seed=seed), normal((T, D))),
        "embedding_layer_norm": Case(
            lambda items, table, w, b: ops.embedding_layer_norm(
                values, positions, items, table, w, b, eps=1e-6, dropout_p=0.3, seed=seed
            ),
            normal((V, D), (6, D), (D,), (D,)),
        ),
        "gelu_ffn": Case(
            lambda *tensors: ops.gelu_ffn(*tensors), normal((T, D), (F, D), (F,), (D, F), (D,))
        ),
        "gelu_ffn with tanh": Case(
            lambda *tensors: ops.gelu_ffn(*tensors, approximate="tanh"),
            normal((T, D), (F, D), (F,), (D, F), (D,)),
        ),
        "residual_layer_norm": Case(
            lambda x, s, w, b: ops.residual_layer_norm(x, s, w, b, eps=1e-6),
            normal((T, D), (T, D), (D,), (D,)),
        ),
        "residual_layer_norm with dropout": Case(
            lambda x, s, w, b: ops.residual_layer_norm(
                x, s, w, b, eps=1e-6, dropout_p=0.3, seed=seed
            ),
            normal((T, D), (T, D), (D,), (D,)),
        ),
        "residual_linear_layer_norm": Case(
            lambda *tensors: ops.residual_linear_layer_norm(*tensors, eps=1e-6),
            normal((T, F), (D, F), (D,), (T, D), (D,), (D,)),
        ),
        "residual_linear_layer_norm with dropout": Case(
            lambda *tensors: ops.residual_linear_layer_norm(
                *tensors, eps=1e-6, dropout_p=0.3, seed=seed
            ),
            normal((T, F), (D, F), (D,), (T, D), (D,), (D,)),
        ),
        "residual_ffn_layer_norm": Case(
            lambda *tensors: ops.residual_ffn_layer_norm(*tensors, eps=1e-6),
            normal((T, D), (F, D), (F,), (D, F), (D,), (D,), (D,)),
        ),
        "residual_ffn_layer_norm with tanh and dropout": Case(
            lambda *tensors: ops.residual_ffn_layer_norm(
                *tensors, eps=1e-6, approximate="tanh", dropout_p=0.3, seed=seed
            ),
            normal((T, D), (F, D), (F,), (D, F), (D,), (D,), (D,)),
        ),
        "linear_gelu_layer_norm": Case(
            lambda *tensors: ops.linear_gelu_layer_norm(*tensors, eps=1e-6),
            normal((T, F), (D, F), (D,), (D,), (D,)),
        ),
        "selected_projection": Case(
            lambda *tensors: torch.cat(
                [part.flatten() for part in ops.selected_projection(*tensors, tensor([4, 1, 9]))]
            ),
            normal((T, F), (3 * D, F), (3 * D,)),
        ),
        "softmax_loss": Case(
            lambda h, c, b: ops.softmax_loss(h, c, b, targets), normal((N, D), (V, D), (V,))
        ),
        "reduced_softmax_loss": Case(
            lambda h, c, b: ops.softmax_loss(h, c, b, targets, reduction="sum"),
            normal((N, D), (V, D), (V,)),
        ),
        "reduced_softmax_loss with weights": Case(
            lambda h, c, b: ops.softmax_loss(h, c, b, targets, weights=weights),
            normal((N, D), (V, D), (V,)),
        ),
        "sampled_softmax_loss with weights": Case(
            lambda h, c: ops.sampled_softmax_loss(h, c, None, targets, shared, weights=weights),
            normal((N, D), (V, D)),
        ),
        "softmax_loss of rows without bias": Case(
            lambda h, c: ops.softmax_loss(h, c, None, targets, reduction="none"),
            normal((N, D), (V, D)),
        ),
        "sampled_softmax_loss": Case(
            lambda h, c, b: ops.sampled_softmax_loss(
                h, c, b, targets, shared, log_q=log_q.to(h.dtype)
            ),
            normal((N, D), (V, D), (V,)),
        ),
        "sampled_softmax_loss with private negatives": Case(
            lambda h, c: ops.sampled_softmax_loss(h, c, None, targets, private, reduction="sum"),
            normal((N, D), (V, D)),
        ),
        "sample_negatives": Case(
            lambda: ops.sample_negatives((N, K), V, seed=seed), lambda dtype: []
        ),
        "sample_negatives by popularity": Case(
            lambda: ops.sample_negatives(
                K, V, sampler="popularity", counts=torch.arange(V, device=device), seed=seed
            ),
            lambda dtype: [],
        ),
        "topk": Case(
            lambda h, c, b: ops.topk(
                h, c, b, 4, exclude=(values, int32([0, 4, 4, 5, 5, 5, 5, 11]))
            ),
            lambda dtype: [t.detach() for t in normal((N, D), (V, D), (V,))(dtype)],
        ),
        "topk of candidates": Case(
            lambda h, c: ops.topk(h, c, None, 4, candidates=private),
            lambda dtype: [t.detach() for t in normal((N, D), (V, D))(dtype)],
        ),
        "rank": Case(
            lambda h, c, b: ops.rank(
                h, c, b, targets.clamp(min=0), exclude=(values, int32([0, 4, 4, 5, 5, 5, 5, 11]))
            ),
            lambda dtype: [t.detach() for t in normal((N, D), (V, D), (V,))(dtype)],
        ),
        "select_labelled": Case(
            lambda: ops.select_labelled(values.masked_fill(values > 3, -100), int32(CU_SEQLENS), 7),
            lambda dtype: [],
        ),
        "token_positions": Case(
            lambda: ops.token_positions(int32(CU_SEQLENS), T), lambda dtype: []
        ),
        "cloze_mask": Case(
            lambda: ops.cloze_mask(
                values, int32(CU_SEQLENS), mask_prob=0.4, last_only=0.2, mask_id=14, seed=seed
            ),
            lambda dtype: [],
        ),
    }


CASES = cases("cpu")
DIFFERENTIABLE = [
    name
    for name, case in CASES.items()
    if any(t.requires_grad for t in case.tensors(torch.float64))
]
