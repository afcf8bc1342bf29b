import pytest
import torch
from torch.nn.functional import embedding, layer_norm

from b4r_fast import ops, use_backend
from b4r_fast.backends.cpu.instruction_sets import SUPPORTED
from b4r_fast.backends.reference.philox import dropout_scale, keep_mask

from .accuracy import assert_as_accurate_as_torch
from .native import assert_passes_in, assert_same_bits_for_any_number_of_threads, poison

V, P, D = 11, 6, 8
SEED = torch.tensor(-5_000_000_123)


def run(
    tokens: int, num_items: int, num_positions: int, d: int, dropout_p: float = 0.3
) -> list[torch.Tensor]:
    """The result and all gradients, the same inputs at every call."""
    random = torch.Generator().manual_seed(tokens + d)
    tables = [
        torch.randn(shape, generator=random, requires_grad=True)
        for shape in ((num_items, d), (num_positions, d), (d,), (d,))
    ]
    values, positions = (
        torch.randint(size, (tokens,), generator=random) for size in (num_items, num_positions)
    )
    y = ops.embedding_layer_norm(
        values, positions, *tables, eps=1e-6, dropout_p=dropout_p, seed=SEED
    )
    return [y, *torch.autograd.grad(y, tables, torch.randn(y.shape, generator=random))]


@pytest.mark.parametrize("tokens", [0, 1, 40])
@pytest.mark.parametrize("dropout_p", [0.0, 0.3])
def test_it_is_the_composition(tokens, dropout_p):
    items, table, weight, bias = tensors = [
        torch.randn(s, requires_grad=True) for s in ((V, D), (P, D), (D,), (D,))
    ]
    values, positions, seed = (
        torch.randint(V, (tokens,)),
        torch.randint(P, (tokens,)),
        torch.tensor(4),
    )
    ours = ops.embedding_layer_norm(
        values, positions, *tensors, eps=1e-6, dropout_p=dropout_p, seed=seed
    )
    keep = keep_mask(seed, dropout_p, torch.arange(tokens), D) * dropout_scale(dropout_p)
    theirs = (
        layer_norm(embedding(values, items) + embedding(positions, table), (D,), weight, bias, 1e-6)
        * keep
    )
    torch.testing.assert_close(ours, theirs)
    dy = torch.randn_like(theirs)
    torch.testing.assert_close(
        torch.autograd.grad(ours, tensors, dy),
        torch.autograd.grad(theirs, tensors, dy),
        rtol=1e-4,
        atol=1e-5,
    )


def shapes_agree_with_the_reference():
    shapes = [
        (0, 5, 3, 16),  # no token: all gradients are zeros
        (1, 1, 1, 5),
        (700, 1, 1, 33),  # one row of each table has all tokens, more than a task
        (700, 3, 200, 20),  # few items, each with tokens of several tasks
        (129, 300_000, 4, 8),  # few tokens of a large table, rows of two digits
        (40, 5_000_000, 4, 2),  # and of three
        (300, 50, 20, 64),
        (130, 40, 30, 100),
        (9, 7, 5, 1024),
        *((131, 20, 10, d) for d in range(2, 34)),
    ]
    for shape in shapes:
        native = run(*shape)
        with use_backend("reference"):
            expected = run(*shape)
        torch.testing.assert_close(native, expected, rtol=1e-4, atol=1e-4 if shape[3] > 4 else 1e-1)
        assert torch.equal(native[0] == 0, expected[0] == 0)


@pytest.mark.parametrize("isa", SUPPORTED)
def test_every_instruction_set_agrees_with_the_reference(isa):
    assert_passes_in(isa, shapes_agree_with_the_reference)


@pytest.mark.parametrize(("num_items", "num_positions"), [(3000, 200), (2, 1)])
def test_it_is_as_accurate_as_torch(num_items, num_positions):
    """Also where thousands of tokens share a row of a table."""
    values, positions = torch.randint(num_items, (5000,)), torch.randint(num_positions, (5000,))

    def theirs(items, table, weight, bias):
        return layer_norm(
            embedding(values, items) + embedding(positions, table), (48,), weight, bias, 1e-6
        )

    assert_as_accurate_as_torch(
        lambda *args: ops.embedding_layer_norm(values, positions, *args, eps=1e-6),
        theirs,
        [
            torch.randn(num_items, 48),
            torch.randn(num_positions, 48),
            torch.randn(48),
            torch.randn(48),
        ],
    )


def test_the_bits_do_not_depend_on_the_number_of_threads():
    assert_same_bits_for_any_number_of_threads(lambda: run(3000, 500, 20, 40))


def test_everything_is_written(monkeypatch):
    """Rows without tokens, too: their gradient is 0."""
    poison(monkeypatch)
    for shape in ((0, 50, 3, 8), (130, 40_000, 300, 20)):
        assert not any(t.isnan().any() for t in run(*shape))


def test_a_row_without_tokens_has_no_gradient():
    tables = [torch.randn(s, requires_grad=True) for s in ((V, D), (P, D), (D,), (D,))]
    y = ops.embedding_layer_norm(torch.tensor([3, 3]), torch.tensor([1, 4]), *tables, eps=1e-6)
    ditems, dtable = torch.autograd.grad(y, tables[:2], torch.randn_like(y))
    assert ditems.any(1).nonzero().flatten().tolist() == [3]
    assert dtable.any(1).nonzero().flatten().tolist() == [1, 4]


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


def test_the_sparse_gradient_is_the_dense_one_of_the_rows_that_are_named():
    values, positions = torch.randint(900, (500,)), torch.randint(20, (500,))
    tables = [
        torch.randn(shape, requires_grad=True) for shape in ((1000, 24), (20, 24), (24,), (24,))
    ]
    incoming = torch.randn(500, 24)
    dense, sparse = (
        torch.autograd.grad(
            ops.embedding_layer_norm(values, positions, *tables, eps=1e-6, sparse=s),
            tables,
            incoming,
        )
        for s in (False, True)
    )
    assert sparse[0].is_coalesced()
    assert torch.equal(sparse[0].indices()[0], values.unique())
    assert torch.equal(sparse[0].to_dense(), dense[0])
    assert all(torch.equal(a, b) for a, b in zip(dense[1:], sparse[1:]))
