"""The operators that join others, made of the ones that a backend holds; kernels of their own save launches and memory traffic."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from .residual_layer_norm import at_least_fp32


def compose(held: Mapping[str, Callable]) -> dict[str, Callable]:
    """{operator: function}. held: linear, gelu_ffn and residual_layer_norm, and their backwards."""
    linear, linear_backward = held["linear"], held["linear_backward"]
    gelu_ffn, gelu_ffn_backward = held["gelu_ffn"], held["gelu_ffn_backward"]
    residual_layer_norm, residual_layer_norm_backward = held["residual_layer_norm"], held["residual_layer_norm_backward"]

    def residual_linear_layer_norm(
        a: Tensor, w: Tensor, b: Tensor, x: Tensor, weight: Tensor, bias: Tensor, eps: float, dropout_p: float, seed: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        sublayer = linear(a, w, b)
        y, mean, rstd = residual_layer_norm(x, sublayer, weight, bias, eps, dropout_p, seed)
        return y, sublayer, mean, rstd

    def residual_linear_layer_norm_backward(
        dy: Tensor, a: Tensor, w: Tensor, x: Tensor, sublayer: Tensor, weight: Tensor, mean: Tensor, rstd: Tensor, dropout_p: float,
        seed: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
        dx, dsublayer, dweight, dbias = residual_layer_norm_backward(dy, x, sublayer, weight, mean, rstd, dropout_p, seed)
        da, dw, db = linear_backward(dsublayer, a, w)
        return da, dw, db, dx, dweight, dbias

    def residual_ffn_layer_norm(
        x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, weight: Tensor, bias: Tensor, eps: float, approximate: str,
        dropout_p: float, seed: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
        sublayer = gelu_ffn(x, w1, b1, w2, b2, approximate)
        y, mean, rstd = residual_layer_norm(x, sublayer, weight, bias, eps, dropout_p, seed)
        return y, sublayer, mean, rstd

    def residual_ffn_layer_norm_backward(
        dy: Tensor, x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, sublayer: Tensor, weight: Tensor, mean: Tensor, rstd: Tensor,
        approximate: str, dropout_p: float, seed: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
        dx, dsublayer, dweight, dbias = residual_layer_norm_backward(dy, x, sublayer, weight, mean, rstd, dropout_p, seed)
        dx_of_ffn, dw1, db1, dw2, db2 = gelu_ffn_backward(dsublayer, x, w1, b1, w2, approximate)
        return dx.add_(dx_of_ffn), dw1, db1, dw2, db2, dweight, dbias

    def linear_gelu_layer_norm(
        x: Tensor, w: Tensor, b: Tensor, weight: Tensor, bias: Tensor, eps: float, approximate: str
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        u = linear(x, w, b)
        a, weight, bias = (at_least_fp32(t) for t in (torch.nn.functional.gelu(u, approximate=approximate), weight, bias))
        y, mean, rstd = torch.native_layer_norm(a, a.shape[1:], weight, bias, eps)
        return y.to(x.dtype), u, mean.flatten(), rstd.flatten()

    def linear_gelu_layer_norm_backward(
        dy: Tensor, x: Tensor, w: Tensor, u: Tensor, weight: Tensor, mean: Tensor, rstd: Tensor, approximate: str
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        a = torch.nn.functional.gelu(u, approximate=approximate)
        dy, a, weight = (at_least_fp32(t) for t in (dy, a, weight))
        statistics = mean[:, None], rstd[:, None]
        da, dweight, dbias = torch.ops.aten.native_layer_norm_backward(dy, a, a.shape[1:], *statistics, weight, weight, [True] * 3)
        du = torch.ops.aten.gelu_backward(da.to(x.dtype), u, approximate=approximate)
        dx, dw, db = linear_backward(du, x, w)
        return dx, dw, db, dweight.to(x.dtype), dbias.to(x.dtype)

    def selected_projection(x: Tensor, w: Tensor, b: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        queries, d = x[rows], w.shape[0] // 3
        return queries, linear(queries, w[:d], b[:d]), linear(x, w[d:], b[d:])

    def selected_projection_backward(
        dqueries: Tensor | None, dq: Tensor, djoint: Tensor, x: Tensor, queries: Tensor, w: Tensor, rows: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        d = w.shape[0] // 3
        dx, *of_joint = linear_backward(djoint, x, w[d:])
        dx_of_rows, *of_q = linear_backward(dq, queries, w[:d])
        dx.index_add_(0, rows, dx_of_rows if dqueries is None else dx_of_rows.add_(dqueries))
        dw, db = (torch.cat(parts) for parts in zip(of_q, of_joint))
        return dx, dw, db

    operators = (
        residual_linear_layer_norm,
        residual_linear_layer_norm_backward,
        residual_ffn_layer_norm,
        residual_ffn_layer_norm_backward,
        linear_gelu_layer_norm,
        linear_gelu_layer_norm_backward,
        selected_projection,
        selected_projection_backward,
    )
    return {operator.__name__: operator for operator in operators}
