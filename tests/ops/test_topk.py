import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from b4r_fast import ops, use_backend

NAN, INF = torch.nan, torch.inf


def brute_force(
    z: torch.Tensor, k: int, excluded: list[set[int]], allowed: list[set[int]]
) -> tuple[list, list]:
    scores, rows = [], []
    for i, row in enumerate(z.tolist()):
        order = sorted(
            (-score, j) for j, score in enumerate(row) if j not in excluded[i] and j in allowed[i]
        )[:k]
        missing = k - len(order)
        scores.append([-score for score, _ in order] + [-float("inf")] * missing)
        rows.append([j for _, j in order] + [-1] * missing)
    return scores, rows


# Small whole numbers make ties common and sums exact.
@settings(deadline=None)
@given(
    st.integers(0, 4),
    st.integers(1, 9),
    st.integers(1, 12),
    st.booleans(),
    st.booleans(),
    st.integers(0, 1000),
)
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
    assert all(
        torch.equal(a, b)
        for a, b in zip(ops.topk(hidden, items, None, 2, candidates=shared), private)
    )


# Users: none, one and few (dot products), over a panel of 16, over chunks of 128. d: below any
# vector, no multiple of one, the paper's, large. Items: none, one, over a block, and no multiple of
# any tile.
@settings(deadline=None, max_examples=150)
@given(
    st.sampled_from([0, 1, 3, 7, 16, 17, 300]),
    st.sampled_from([0, 1, 2, 15, 16, 17, 131, 300]),
    st.sampled_from([1, 3, 8, 17, 64, 100]),
    st.sampled_from([1, 2, 10, 150, 1000]),
    st.sampled_from([None, "some", "all"]),
    st.sampled_from([None, "shared", "private", "none"]),
    st.booleans(),
    st.booleans(),
    st.integers(0, 10**6),
)
def test_all_backends_choose_alike_whatever_is_left_out_and_whatever_is_not_a_number(
    n, v, d, k, excludes, chooses, biased, strange, seed
):
    torch.manual_seed(seed)
    hidden, items, bias = (torch.randint(-2, 3, shape).float() for shape in ((n, d), (v, d), (v,)))
    if strange and v > 0:
        bias[torch.randint(v, (3,))] = torch.tensor([NAN, INF, -INF])
        items[torch.randint(v, (2,)), torch.randint(d, (2,))] = torch.tensor([NAN, INF])
    exclude = None
    if excludes == "some" and v > 0:
        lengths = torch.randint(0, 2 * v, (n,))
        exclude = (
            torch.randint(v, (int(lengths.sum()),)),
            torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)]).int(),
        )
    elif excludes == "all":
        exclude = (torch.arange(v).repeat(n), (torch.arange(n + 1) * v).int())
    shapes = {"shared": (v,), "private": (n, v // 2), "none": (0,)}
    candidates = torch.randint(max(v, 1), shapes[chooses]) if chooses else None
    results = []
    for backend in ("cpu", "reference"):
        with use_backend(backend):
            results.append(
                ops.topk(
                    hidden,
                    items,
                    bias if biased else None,
                    k,
                    exclude=exclude,
                    candidates=candidates,
                )
            )
    for ours, theirs in zip(*results):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("d", [1, 7, 8, 15, 33, 1024])
@pytest.mark.parametrize("n", [1, 20])
def test_scores_are_those_of_fp64(n, d):
    hidden, items, bias = torch.randn(n, d), torch.randn(500, d), torch.randn(500)
    scores, rows = ops.topk(hidden, items, bias, 5)
    z = hidden.double() @ items.double().T + bias.double()
    tolerance = 2e-7 * d**0.5 * float(z.max())
    torch.testing.assert_close(scores.double(), z.gather(1, rows), rtol=0, atol=tolerance)
    torch.testing.assert_close(scores.double(), z.topk(5).values, rtol=0, atol=tolerance)


@pytest.mark.parametrize("n", [1, 5, 40, 300])
def test_the_number_of_threads_changes_no_bit(n):
    hidden, items = torch.randn(n, 64), torch.randn(3000, 64)
    items[1500:] = items[:1500]  # every score twice, and not in one worker's run
    exclude = (torch.randint(3000, (5 * n,)), torch.arange(0, 5 * n + 1, 5, dtype=torch.int32))
    threads = torch.get_num_threads()
    try:
        results = []
        for count in (1, 2, 3, 7):
            torch.set_num_threads(count)
            results.append(ops.topk(hidden, items, None, 20, exclude=exclude))
    finally:
        torch.set_num_threads(threads)
    for scores, rows in results[1:]:
        assert torch.equal(scores, results[0][0])
        assert torch.equal(rows, results[0][1])


@pytest.mark.parametrize("n", [1, 20])
def test_equal_items_score_equal_bits_wherever_they_stand(n):
    hidden, item = torch.randn(n, 100), torch.randn(1, 100)
    scores, rows = ops.topk(hidden, item.expand(1001, -1), None, 1001)
    assert (scores == scores[:, :1]).all()
    assert torch.equal(rows, torch.arange(1001).expand(n, -1))


@pytest.mark.parametrize("n", [1, 20])
@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_an_item_whose_score_is_not_a_number_is_never_recommended_and_ranks_last(n, backend):
    hidden, items = torch.ones(n, 8), torch.zeros(40, 8)
    items[30], items[7] = NAN, NAN
    items[5, 0] = INF
    with use_backend(backend):
        scores, rows = ops.topk(hidden, items, None, 40)
        ranks = [
            ops.rank(hidden, items, None, torch.full((n,), item)).unique().tolist()
            for item in (5, 0, 7, 30)
        ]
    assert rows[:, :3].tolist() == [[5, 0, 1]] * n
    assert (rows[:, 38:] == -1).all()
    assert (scores[:, 38:] == -INF).all()
    assert ranks == [[1], [38], [40], [40]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_halves_are_ranked_by_their_products_in_fp32(dtype):
    """Products rounded to halves tied, and the lower row won: half of all lists were wrong."""
    hidden, items = torch.randn(200, 64).to(dtype), torch.randn(2000, 64).to(dtype)
    _, rows = ops.topk(hidden, items, None, 10)
    exact = (hidden.double() @ items.double().T).topk(10)[1]
    assert (rows == exact).all(1).float().mean() > 0.99
    assert (ops.rank(hidden, items, None, exact[:, 3]) == 4).float().mean() > 0.99


def test_where_all_is_excluded_nothing_is_found():
    everything = (torch.arange(50).repeat(2), torch.tensor([0, 50, 100], dtype=torch.int32))
    scores, rows = ops.topk(torch.randn(2, 8), torch.randn(50, 8), None, 3, exclude=everything)
    assert (scores == -INF).all()
    assert (rows == -1).all()


def test_memory_does_not_grow_with_users_times_items():
    """8,000 users x 60,000 items would be 1.9 GB of scores."""
    resource = pytest.importorskip("resource")
    hidden, items = torch.randn(8000, 4), torch.randn(60_000, 4)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ops.topk(hidden, items, None, 10)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024  # KiB


def test_wrong_arguments_are_named():
    hidden, items = torch.randn(3, 4), torch.randn(10, 4)
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        ops.topk(hidden, items, None, 0)
    with pytest.raises(ValueError, match="exclude must be rows of items, 0 to 9; got 10"):
        ops.topk(
            hidden,
            items,
            None,
            2,
            exclude=(torch.tensor([10]), torch.tensor([0, 1, 1, 1], dtype=torch.int32)),
        )
    with pytest.raises(
        ValueError,
        match=(
            "exclude offsets must begin with 0 and end with the number of elements, 1; got 0 and 2"
        ),
    ):
        ops.topk(
            hidden,
            items,
            None,
            2,
            exclude=(torch.tensor([1]), torch.tensor([0, 1, 1, 2], dtype=torch.int32)),
        )
    with pytest.raises(ValueError, match="candidates must be rows of items"):
        ops.topk(hidden, items, None, 2, candidates=torch.tensor([-1]))
