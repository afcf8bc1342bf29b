"""Every configuration of the product kernels that the table of tiles can choose, by the launch
sites that choose it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import NamedTuple

import torch

from b4r_fast.backends.packing import Packing
from b4r_fast.backends.triton import (
    attention,
    gelu_ffn,
    linear,
    linear_gelu_layer_norm,
    rank,
    residual_ffn_layer_norm,
    residual_linear_layer_norm,
    softmax_loss,
    tiles,
    topk,
)

# Of each choice the one with most to do comes first. LENGTHS of sequences: a backward that holds
# them whole has 16 to 1 blocks of rows.
LENGTHS = (
    129,
    65,
    33,
    17,
    16,
)
LONG = (257,)
T = 150
GELUS = ("none", "tanh")
DROPOUTS = (0.1, 0.0)
BIASES = (True, False)


class Product(NamedTuple):
    """What an entry of the table is for."""

    kernels: tuple[str, ...]  # which it describes
    most: int  # columns that the op has a kernel for
    launch: Callable[[int, torch.dtype], None]  # all its forms, for operands of so many columns

    def columns(self, key: str, dtype: torch.dtype) -> Iterator[int]:
        """Of every block of columns that the table has a tile for: all of them, and one less, a
        number that nothing divides.
        """
        for block in (16, 32, 64, 128, 256):
            yield from (
                d for d in (block, block - 1) if block <= self.most and tiles.fits(key, d, dtype)
            )


def _like(d: int, size: int) -> int:
    """A size that 16 divides if it divides d, as Triton compiles for that."""
    return size if d % 16 == 0 else size - 1


def _forms(d: int, dtype: torch.dtype, *choices: Sequence) -> list[tuple]:
    """Every combination; in fp16, whose tiles are bf16's, and where 16 does not divide the columns,
    whose tiles are the next block's, the one with most to do and that with least.
    """
    forms = list(product(*choices))
    return [forms[0], forms[-1]] if dtype == torch.float16 or d % 16 else forms


def _attend(d: int, dtype: torch.dtype) -> None:
    for dropout_p in DROPOUTS:
        q, cu_seqlens = torch.empty(T, 2, d, dtype=dtype), torch.tensor([0, T], dtype=torch.int32)
        attention.attention(q, q, q, cu_seqlens, cu_seqlens, T, T, 0.1, dropout_p, torch.tensor(1))


def _attend_back(d: int, dtype: torch.dtype, lengths: tuple[int, ...]) -> None:
    for n, dropout_p in _forms(d, dtype, lengths, DROPOUTS):
        q, lse = torch.empty(n, 2, d, dtype=dtype), torch.empty(2, n)
        cu_seqlens = torch.tensor([0, n], dtype=torch.int32)
        packing = Packing(cu_seqlens, cu_seqlens, n, n, 0.1, dropout_p, torch.tensor(1))
        attention.attention_gradients(q, q, q, q, q, lse, q, q, q, *packing)


def _network(d: int, dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
    """x, w1, b1, w2, b2."""
    f = _like(d, 256)
    return tuple(torch.empty(shape, dtype=dtype) for shape in ((T, d), (f, d), (f,), (d, f), (d,)))


def _feed(d: int, dtype: torch.dtype) -> None:
    for approximate in GELUS:
        gelu_ffn.gelu_ffn(*_network(d, dtype), approximate)


def _feed_back(d: int, dtype: torch.dtype) -> None:
    x, w1, b1, w2, _ = _network(d, dtype)
    for approximate in GELUS:
        gelu_ffn.gelu_ffn_backward(x, x, w1, b1, w2, approximate)


def _feed_and_add(d: int, dtype: torch.dtype) -> None:
    *network, b2 = _network(d, dtype)
    for approximate, dropout_p in _forms(d, dtype, GELUS, DROPOUTS):
        residual_ffn_layer_norm.residual_ffn_layer_norm(
            *network, b2, b2, b2, 1e-12, approximate, dropout_p, torch.tensor(1)
        )


def _feed_and_add_back(d: int, dtype: torch.dtype) -> None:
    (x, w1, b1, w2, b2), row = _network(d, dtype), torch.empty(T)
    for approximate, dropout_p in _forms(d, dtype, GELUS, DROPOUTS):
        residual_ffn_layer_norm.residual_ffn_layer_norm_backward(
            x, x, w1, b1, w2, x, b2, row, row, approximate, dropout_p, torch.tensor(1)
        )


def _norm_of_product(d: int, dtype: torch.dtype) -> None:
    x, w, vector, seed = (
        torch.empty(T, d, dtype=dtype),
        torch.empty(d, d, dtype=dtype),
        torch.empty(d, dtype=dtype),
        torch.tensor(1),
    )
    for dropout_p in DROPOUTS:
        residual_linear_layer_norm.residual_linear_layer_norm(
            x, w, vector, x, vector, vector, 1e-12, dropout_p, seed
        )
    for approximate in GELUS:
        linear_gelu_layer_norm.linear_gelu_layer_norm(
            x, w, vector, vector, vector, 1e-12, approximate
        )


def _norm_of_product_back(d: int, dtype: torch.dtype) -> None:
    x, w, vector, row = (
        torch.empty(T, d, dtype=dtype),
        torch.empty(d, d, dtype=dtype),
        torch.empty(d, dtype=dtype),
        torch.empty(T),
    )
    for dropout_p in DROPOUTS:
        residual_linear_layer_norm.residual_linear_layer_norm_backward(
            x, x, w, x, x, vector, row, row, dropout_p, torch.tensor(1)
        )
    for approximate in GELUS:
        linear_gelu_layer_norm.linear_gelu_layer_norm_backward(
            x, x, w, x, vector, row, row, approximate
        )


def _project_back(d: int, dtype: torch.dtype) -> None:
    for (most_in,) in _forms(d, dtype, (linear.MOST_IN, 32, 16)):
        shapes = (T, d), (T, _like(d, most_in)), (d, _like(d, most_in))
        linear.partial_gradients(*(torch.empty(shape, dtype=dtype) for shape in shapes))


def _scored(d: int, dtype: torch.dtype, has_bias: bool = True) -> tuple:
    """hidden, items, bias or None, targets."""
    v = _like(d, 512)
    bias = torch.empty(v, dtype=dtype) if has_bias else None
    return (
        torch.empty(T, d, dtype=dtype),
        torch.empty(v, d, dtype=dtype),
        bias,
        torch.zeros(T, dtype=torch.int64),
    )


def _loss(d: int, dtype: torch.dtype) -> None:
    for has_bias, has_ids in _forms(d, dtype, BIASES, (True, False)):
        hidden, items, bias, targets = _scored(d, dtype, has_bias)
        ids = torch.zeros(items.shape[0], dtype=torch.int64) if has_ids else None
        softmax_loss.forward_columns(hidden, items, bias, targets, items, bias, ids)


def _loss_back(d: int, dtype: torch.dtype) -> None:
    row = torch.empty(T)
    for has_bias, which in _forms(d, dtype, BIASES, ("of candidates", "of each row", "of all")):
        hidden, items, bias, targets = _scored(d, dtype, has_bias)
        ids = torch.zeros(items.shape[0], dtype=torch.int64) if which == "of candidates" else None
        dloss, table = row[0] if which == "of all" else row, dtype if ids is None else torch.float32
        softmax_loss.backward_columns(dloss, hidden, items, bias, targets, row, row, ids, table)


EXCLUDE = torch.zeros(9, dtype=torch.int64), torch.linspace(0, 9, T + 1).int()


def _rank(d: int, dtype: torch.dtype) -> None:
    rank.rank(*_scored(d, dtype), *EXCLUDE)


def _topk(d: int, dtype: torch.dtype) -> None:
    for k, exclude in _forms(d, dtype, topk.KEPT[::-1], (EXCLUDE, (None, None))):
        topk.topk(*_scored(d, dtype)[:3], k, *exclude, None)


PRODUCTS = {
    "attention forward": Product(("_forward_kernel",), 128, _attend),
    "attention whole": Product(
        ("_backward_whole_kernel",), 128, lambda d, dtype: _attend_back(d, dtype, LENGTHS)
    ),
    "attention tiled": Product(
        ("_backward_keys_kernel", "_backward_rows_kernel"),
        128,
        lambda d, dtype: _attend_back(d, dtype, LONG),
    ),
    "gelu_ffn forward": Product(("_forward_kernel",), 128, _feed),
    "gelu_ffn dx": Product(("_dx_kernel",), 128, _feed_back),
    "gelu_ffn weights": Product(("_dweight_kernel",), 128, _feed_back),
    "linear backward": Product(("_backward_kernel",), 256, _project_back),
    "layer_norm of product, forward": Product(("_forward_kernel",), 128, _norm_of_product),
    "layer_norm of product, backward": Product(("_backward_kernel",), 128, _norm_of_product_back),
    "residual_ffn forward": Product(("_forward_kernel",), 128, _feed_and_add),
    "residual_ffn dx": Product(("_dx_kernel",), 128, _feed_and_add_back),
    "softmax_loss forward": Product(("_forward_kernel",), 256, _loss),
    "softmax_loss backward": Product(("_backward_kernel",), 256, _loss_back),
    "rank": Product(("_count_kernel", "_excluded_kernel"), 256, _rank),
    "topk": Product(("_best_kernel",), 256, _topk),
}
