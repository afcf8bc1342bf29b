import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from b4r_fast import ops


@settings(deadline=None)
@given(st.integers(0, 4), st.integers(1, 9), st.integers(0, 1000))
def test_it_is_one_more_than_the_items_that_are_as_good(n, v, seed):
    torch.manual_seed(seed)
    hidden, items, bias = (torch.randint(-2, 3, shape).float() for shape in ((n, 3), (v, 3), (v,)))
    targets = torch.randint(v, (n,))
    exclude = torch.randint(v, (2 * n,))
    ranks = ops.rank(hidden, items, bias, targets, exclude=(exclude, torch.arange(0, 2 * n + 1, 2, dtype=torch.int32)))
    z = (hidden @ items.T + bias).tolist()
    for i, target in enumerate(targets.tolist()):
        others = set(range(v)) - {target} - set(exclude[2 * i : 2 * i + 2].tolist())
        assert ranks[i] == 1 + sum(z[i][j] >= z[i][target] for j in others)


def test_a_model_that_knows_nothing_ranks_last():
    ranks = ops.rank(torch.zeros(2, 4), torch.randn(10, 4), None, torch.tensor([0, 9]))
    assert ranks.tolist() == [10, 10]


def test_scores_that_are_not_numbers_rank_last():
    ranks = ops.rank(torch.full((2, 4), torch.nan), torch.randn(10, 4), None, torch.tensor([0, 9]))
    assert ranks.tolist() == [10, 10]


def test_the_target_takes_part_even_where_it_is_excluded():
    """A user may come back to an item; its place must not be lost."""
    hidden, items = torch.ones(1, 1), torch.tensor([[1.0], [3.0], [2.0]])
    exclude = (torch.tensor([1, 2]), torch.tensor([0, 2], dtype=torch.int32))
    assert ops.rank(hidden, items, None, torch.tensor([2]), exclude=exclude).tolist() == [1]
