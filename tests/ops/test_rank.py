import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from b4r_fast import ops, use_backend


@settings(deadline=None)
@given(st.integers(0, 4), st.integers(1, 9), st.integers(0, 1000))
def test_it_is_one_more_than_the_items_that_are_as_good(n, v, seed):
    torch.manual_seed(seed)
    hidden, items, bias = (torch.randint(-2, 3, shape).float() for shape in ((n, 3), (v, 3), (v,)))
    targets = torch.randint(v, (n,))
    exclude = torch.randint(v, (2 * n,))
    ranks = ops.rank(
        hidden,
        items,
        bias,
        targets,
        exclude=(exclude, torch.arange(0, 2 * n + 1, 2, dtype=torch.int32)),
    )
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


# Sizes as in test_topk.py.
@settings(deadline=None, max_examples=150)
@given(
    st.sampled_from([0, 1, 3, 7, 16, 17, 300]),
    st.sampled_from([1, 2, 15, 16, 17, 131, 300]),
    st.sampled_from([1, 3, 8, 17, 64, 100]),
    st.sampled_from([None, "some", "all"]),
    st.booleans(),
    st.booleans(),
    st.integers(0, 10**6),
)
def test_all_backends_rank_alike_whatever_is_left_out_and_whatever_is_not_a_number(
    n, v, d, excludes, biased, strange, seed
):
    torch.manual_seed(seed)
    hidden, items, bias = (torch.randint(-2, 3, shape).float() for shape in ((n, d), (v, d), (v,)))
    if strange:
        bias[torch.randint(v, (3,))] = torch.tensor([torch.nan, torch.inf, -torch.inf])
        items[torch.randint(v, (2,)), torch.randint(d, (2,))] = torch.tensor([torch.nan, torch.inf])
    exclude = None
    if excludes == "some":
        lengths = torch.randint(0, 2 * v, (n,))
        exclude = (
            torch.randint(v, (int(lengths.sum()),)),
            torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)]).int(),
        )
    elif excludes == "all":
        exclude = (torch.arange(v).repeat(n), (torch.arange(n + 1) * v).int())
    results = []
    for backend in ("cpu", "reference"):
        torch.manual_seed(seed)
        with use_backend(backend):
            results.append(
                ops.rank(
                    hidden, items, bias if biased else None, torch.randint(v, (n,)), exclude=exclude
                )
            )
    assert results[0].tolist() == results[1].tolist()


@pytest.mark.parametrize("n", [1, 5, 40, 300])
def test_a_copy_of_the_target_ties_with_it_wherever_it_stands(n):
    """The target's score must come of the same order of sums as the others: a rounding apart, and
    the copy is better or worse.
    """
    items = torch.randn(700, 100)
    targets = torch.randint(350, (n,))
    items[350:] = items[:350].flip(0)
    hidden = items[targets] * 3 + torch.randn(n, 100) / 10
    ranks = ops.rank(hidden, items, None, targets)
    without_copies = ops.rank(
        hidden,
        items,
        None,
        targets,
        exclude=(699 - targets, torch.arange(n + 1, dtype=torch.int32)),
    )
    assert ranks.tolist() == [2] * n
    assert without_copies.tolist() == [1] * n


@pytest.mark.parametrize("n", [1, 40, 300])
def test_the_number_of_threads_changes_no_rank(n):
    hidden, items, targets = torch.randn(n, 64), torch.randn(3000, 64), torch.randint(3000, (n,))
    exclude = (torch.randint(3000, (5 * n,)), torch.arange(0, 5 * n + 1, 5, dtype=torch.int32))
    threads = torch.get_num_threads()
    try:
        results = []
        for count in (1, 2, 3, 7):
            torch.set_num_threads(count)
            results.append(ops.rank(hidden, items, None, targets, exclude=exclude).tolist())
    finally:
        torch.set_num_threads(threads)
    assert results == [results[0]] * 4
