"""Useful operations: what the mathematics of the model needs for the real tokens, whatever a
program computes on top.

A product of (m, k) by (k, n) counts 2 m k n. Padding, recomputation and logits of rows without a
label count nothing, nor do dropout draws, norms, biases, the GELU and the optimizer. The
exponentials of attention and head do: EXP each, a polynomial of degree 5. n_b: tokens of sequence
b, r_b: of which hidden; T, R: their sums; d: hidden size, f = 4 d; H: heads; V: items.
"""

from __future__ import annotations

from torch import Tensor

EXP = 10  # 5 fused multiply-adds
BACKWARD = 2  # products in the backward pass for each in the forward pass: one for either operand


def products_of_attention(pairs: float, hidden_size: int) -> dict[str, float]:
    """pairs: of a query and a key. Q K^T and P V are 2 products of 2 d operations a pair."""
    return {"forward": 4 * hidden_size * pairs, "backward": BACKWARD * 4 * hidden_size * pairs}


def attention(queries: Tensor, keys: Tensor, hidden_size: int, num_heads: int) -> dict[str, int]:
    """queries, keys: (batch,), rows of Q and of K of each sequence."""
    pairs = int((queries * keys).sum())
    return add(products_of_attention(pairs, hidden_size), {"forward": EXP * num_heads * pairs})


def linear(rows: float, inputs: int, outputs: int) -> dict[str, float]:
    return {
        "forward": 2 * rows * inputs * outputs,
        "backward": BACKWARD * 2 * rows * inputs * outputs,
    }


def gelu_ffn(rows: float, hidden_size: int) -> dict[str, float]:
    return add(*[linear(rows, hidden_size, 4 * hidden_size)] * 2)


def softmax_loss(rows: int, columns: int, hidden_size: int) -> dict[str, int]:
    """columns: V, or K + 1 where the loss is sampled."""
    return add(linear(rows, hidden_size, columns), {"forward": EXP * rows * columns})


def scores(rows: float, columns: int, hidden_size: int) -> dict[str, float]:
    return {"forward": 2 * rows * columns * hidden_size}


def training_step(
    lengths: Tensor, hidden: Tensor, hidden_size: int, num_heads: int, num_layers: int, columns: int
) -> dict[str, int]:
    """lengths, hidden: (batch,), n_b and r_b. The last layer computes its queries and all that
    follows for hidden tokens alone.
    """
    tokens, rows, d = int(lengths.sum()), int(hidden.sum()), hidden_size
    layer = [
        attention(lengths, lengths, d, num_heads),
        linear(tokens, d, 4 * d),  # Q, K, V and what follows the attention
        gelu_ffn(tokens, d),
    ]
    last = [
        attention(hidden, lengths, d, num_heads),
        linear(tokens, d, 2 * d),
        linear(rows, d, 2 * d),
        gelu_ffn(rows, d),
    ]
    return add(*layer * (num_layers - 1), *last, linear(rows, d, d), softmax_loss(rows, columns, d))


def add(*counts: dict[str, int]) -> dict[str, int]:
    return {part: sum(count.get(part, 0) for count in counts) for part in ("forward", "backward")}
