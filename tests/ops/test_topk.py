import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from b4r_fast import ops


def brute_force(z: torch.Tensor, k: int, excluded: list[set[int]], allowed: list[set[int]]) -> tuple[list, list]:
    scores, rows = [], []
    for i, row in enumerate(z.tolist()):
        order = sorted((-score, j) for j, score in enumerate(row) if j not in excluded[i] and j in allowed[i])[:k]
        missing = k - len(order)
        scores.append([-score for score, _ in order] + [-float("inf")] * missing)
        rows.append([j for _, j in order] + [-1] * missing)
    return scores, rows


# Small whole numbers make ties common and sums exact.
@settings(deadline=None)
@given(st.integers(0, 4), st.integers(1, 9), st.integers(1, 12), st.booleans(), st.booleans(), st.integers(0, 1000))
def test_it_is_a_stable_sort_of_what_is_left(n, v, k, excludes, chooses, seed):
    torch.manual_seed(seed)
    hidden, items, bias = (torch.randint(-2, 3, shape).float() for shape in ((n, 3), (v, 3), (v,)))
    excluded = [set(torch.randint(v, (2,)).tolist()) if excludes else set() for _ in range(n)]
    exclude = None
    if excludes:
        flat = [j for s in excluded for j in s]
        offsets = torch.tensor([0, *map(len, excluded)]).cumsum(0).int()
        exclude = (torch.tensor(flat, dtype=torch.int64), offsets)
    candidates = torch.randint(v, (n, 3)) if chooses else None
    allowed = [set(row) for row in candidates.tolist()] if chooses else [set(range(v))] * n
    scores, rows = ops.topk(hidden, items, bias, k, exclude=exclude, candidates=candidates)
    expected_scores, expected_rows = brute_force(hidden @ items.T + bias, k, excluded, allowed)
    assert scores.tolist() == expected_scores
    assert rows.tolist() == expected_rows


def test_shared_candidates_serve_all_rows():
    hidden, items = torch.randn(3, 4), torch.randn(10, 4)
    shared = torch.tensor([7, 2, 5])
    private = ops.topk(hidden, items, None, 2, candidates=shared.expand(3, 3))
    assert all(torch.equal(a, b) for a, b in zip(ops.topk(hidden, items, None, 2, candidates=shared), private))


def test_wrong_arguments_are_named():
    hidden, items = torch.randn(3, 4), torch.randn(10, 4)
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        ops.topk(hidden, items, None, 0)
    with pytest.raises(ValueError, match="exclude must be rows of items, 0 to 9; got 10"):
        ops.topk(hidden, items, None, 2, exclude=(torch.tensor([10]), torch.tensor([0, 1, 1, 1], dtype=torch.int32)))
    with pytest.raises(ValueError, match="exclude offsets must begin with 0 and end with the number of elements, 1; got 0 and 2"):
        ops.topk(hidden, items, None, 2, exclude=(torch.tensor([1]), torch.tensor([0, 1, 1, 2], dtype=torch.int32)))
    with pytest.raises(ValueError, match="candidates must be rows of items"):
        ops.topk(hidden, items, None, 2, candidates=torch.tensor([-1]))
