"""Dropout(LN(item embedding + position embedding)): the input of the transformer (paper, section
3.4).
"""

from __future__ import annotations

import torch
from torch import Tensor

from .checks import check_dropout, check_rows, check_tensors
from .fakes import fake_gradients, fake_statistics
from .registration import define, differentiate
from .row_gradients import number_rows, sparse_gradient


def _fake(values, positions, items, position_table, weight, bias, eps, dropout_p, seed, sparse):
    y = items.new_empty(values.shape[0], items.shape[1])
    return y, *fake_statistics(y)


def _fake_backward(
    dy,
    values,
    positions,
    items,
    position_table,
    weight,
    mean,
    rstd,
    dropout_p,
    seed,
    value_rows,
    num_rows,
):
    gradients = fake_gradients(position_table, weight, weight)
    return items.new_empty(num_rows, items.shape[1]), *gradients


def _check_values(values, positions, items, position_table, *_):
    check_rows("values", values, "items", items.shape[0])
    check_rows("positions", positions, "position_table", position_table.shape[0])


_forward_op = define(
    "embedding_layer_norm(Tensor values, Tensor positions, Tensor items, Tensor position_table,"
    " Tensor weight, Tensor bias, float eps,"
    " float dropout_p, Tensor? seed, bool sparse) -> (Tensor y, Tensor mean, Tensor rstd)",
    _fake,
    check_values=_check_values,
    like="items",
)
# value_rows: where in the gradient of items, of num_rows rows, each token adds.
_backward_op = define(
    "embedding_layer_norm_backward(Tensor dy, Tensor values, Tensor positions, Tensor items,"
    " Tensor position_table, Tensor weight,"
    " Tensor mean, Tensor rstd, float dropout_p, Tensor? seed, Tensor value_rows, SymInt num_rows)"
    " -> (Tensor ditems, Tensor dposition_table, Tensor dweight, Tensor dbias)",
    _fake_backward,
)


def _setup(ctx, inputs, output):
    values, positions, items, position_table, weight, _, _, ctx.dropout_p, seed, ctx.sparse = inputs
    _, mean, rstd = output
    ctx.mark_non_differentiable(mean, rstd)
    ctx.save_for_backward(values, positions, items, position_table, weight, mean, rstd, seed)


def _backward(ctx, dy, *_):
    values, positions, items, position_table, weight, mean, rstd, seed = ctx.saved_tensors
    rows, (value_rows,) = number_rows(values) if ctx.sparse else (items, (values,))
    tensors = (dy, values, positions, items, position_table, weight, mean, rstd)
    ditems, *others = _backward_op(*tensors, ctx.dropout_p, seed, value_rows, rows.shape[0])
    if ctx.sparse:
        ditems = sparse_gradient(rows, ditems, items.shape[0])
    return None, None, ditems, *others, None, None, None, None


differentiate(_forward_op, _backward, _setup)


def embedding_layer_norm(
    values: Tensor,
    positions: Tensor,
    items: Tensor,
    position_table: Tensor,
    weight: Tensor,
    bias: Tensor,
    *,
    eps: float,
    dropout_p: float = 0.0,
    seed: Tensor | None = None,
    sparse: bool = False,
) -> Tensor:
    """Dropout(LayerNorm(items[values] + position_table[positions])), differentiable in both tables,
    weight and bias.

    values, positions: (T,) int64 rows of items (V, d) and of position_table (P, d). weight, bias:
    (d,). seed: int64 scalar tensor for the dropout; None draws one from torch's generator. sparse:
    the gradient of items is a sparse tensor of the rows that values name, as in torch.nn.Embedding;
    not under torch.compile. Returns (T, d). Raises ValueError for a wrong shape, dtype, device,
    row, or dropout_p outside [0, 1).
    """
    sizes = check_tensors(
        None,
        {},
        items=(items, "V d"),
        position_table=(position_table, "P d"),
        weight=(weight, "d"),
        bias=(bias, "d"),
    )
    check_tensors(torch.int64, sizes, items, values=(values, "T"), positions=(positions, "T"))
    seed = check_dropout(dropout_p, seed, items.device)
    return _forward_op(
        values, positions, items, position_table, weight, bias, eps, dropout_p, seed, sparse
    )[0]
