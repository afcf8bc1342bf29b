import pytest
import torch
from torch.nn.functional import embedding, layer_norm

from b4r_fast import ops
from b4r_fast.backends.reference.philox import dropout_scale, keep_mask

V, P, D = 11, 6, 8


@pytest.mark.parametrize("tokens", [0, 1, 40])
@pytest.mark.parametrize("dropout_p", [0.0, 0.3])
def test_it_is_the_composition(tokens, dropout_p):
    items, table, weight, bias = tensors = [torch.randn(s, requires_grad=True) for s in ((V, D), (P, D), (D,), (D,))]
    values, positions, seed = torch.randint(V, (tokens,)), torch.randint(P, (tokens,)), torch.tensor(4)
    ours = ops.embedding_layer_norm(values, positions, *tensors, eps=1e-6, dropout_p=dropout_p, seed=seed)
    keep = keep_mask(seed, dropout_p, torch.arange(tokens), D) * dropout_scale(dropout_p)
    theirs = layer_norm(embedding(values, items) + embedding(positions, table), (D,), weight, bias, 1e-6) * keep
    torch.testing.assert_close(ours, theirs)
    dy = torch.randn_like(theirs)
    torch.testing.assert_close(torch.autograd.grad(ours, tensors, dy), torch.autograd.grad(theirs, tensors, dy), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("values", "positions", "message"),
    [
        ([0, V], [0, 0], "values must be rows of items, 0 to 10; got 11"),
        ([0, -1], [0, 0], "values must be rows of items, 0 to 10; got -1"),
        ([0, 1], [0, P], "positions must be rows of position_table, 0 to 5; got 6"),
    ],
)
def test_ids_out_of_range_are_named(values, positions, message):
    tables = [torch.randn(s) for s in ((V, D), (P, D), (D,), (D,))]
    with pytest.raises(ValueError, match=message):
        ops.embedding_layer_norm(torch.tensor(values), torch.tensor(positions), *tables, eps=1e-6)
