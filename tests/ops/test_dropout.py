"""Philox and the dropout that it draws: docs/dropout.md."""

import pytest
import torch

from b4r_fast import ops, use_backend
from b4r_fast.backends.cpu.instruction_sets import SUPPORTED
from b4r_fast.backends.reference.philox import (
    dropout_scale,
    keep_mask,
    philox,
    random_fractions,
    random_integers,
)

from .native import assert_passes_in, assert_same_bits_for_any_number_of_threads, poison

FULL = 0xFFFFFFFF


# From Random123's known answers for philox4x32.
@pytest.mark.parametrize(
    ("rounds", "counter", "key", "expected"),
    [
        (7, [0, 0, 0, 0], [0, 0], [0x5F6FB709, 0x0D893F64, 0x4F121F81, 0x4F730A48]),
        (7, [FULL] * 4, [FULL] * 2, [0x5207DDC2, 0x45165E59, 0x4D8EE751, 0x8C52F662]),
        (
            7,
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            [0x4DFCCABA, 0x190A87F0, 0xC47362BA, 0xB6B5242A],
        ),
        (
            10,
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_philox_gives_the_known_answers(rounds, counter, key, expected):
    seed = torch.tensor(key[0] | key[1] << 32, dtype=torch.uint64).view(torch.int64)
    words = philox(seed, tuple(torch.tensor(c) for c in counter), rounds)
    assert [int(w) for w in words] == expected


PINNED_MASK = ["101011110000", "010010101010", "110101100000"]
PINNED_INTEGERS = [7285791138423103693, 47805271349786970, 8910921698739252285]


def test_the_bits_are_pinned():
    """Trained runs resume bit for bit only while the scheme stays as it is."""
    mask = keep_mask(torch.tensor(42), 0.5, torch.tensor([0, 1, 1_000_000]), 12, torch.tensor(3))
    assert ["".join("01"[int(kept)] for kept in row) for row in mask] == PINNED_MASK
    assert random_integers(torch.tensor(42), 3).tolist() == PINNED_INTEGERS


def test_a_column_does_not_depend_on_how_many_there_are():
    rows = torch.arange(5)
    assert torch.equal(
        keep_mask(torch.tensor(1), 0.3, rows, 100)[:, :13],
        keep_mask(torch.tensor(1), 0.3, rows, 13),
    )


@pytest.mark.parametrize("dropout_p", [0.1, 0.5, 0.9])
def test_the_share_of_dropped_elements_is_dropout_p(dropout_p):
    dropped = 1 - keep_mask(torch.tensor(5), dropout_p, torch.arange(2000), 500).double().mean()
    # 1e6 draws: five deviations.
    assert abs(dropped - dropout_p) < 5 * (dropout_p * (1 - dropout_p) / 1e6) ** 0.5


def test_dropout_keeps_the_mean_exactly_as_the_keep_rate_is_exact():
    assert dropout_scale(0.1) == 65536 / (65536 - 6554)
    y = ops.dropout(torch.ones(2000, 500), dropout_p=0.1, seed=torch.tensor(9))
    assert abs(y.mean() - 1) < 2e-3
    torch.testing.assert_close(y.unique(), torch.tensor([0.0, dropout_scale(0.1)]))


def test_a_probability_too_small_for_16_bits_drops_nothing():
    x = torch.randn(10, 10)
    assert torch.equal(ops.dropout(x, dropout_p=1e-6, seed=torch.tensor(9)), x)


def test_neighbouring_seeds_rows_and_groups_are_unrelated():
    base = keep_mask(torch.tensor(7), 0.5, torch.arange(1000), 64)
    for other in (
        keep_mask(torch.tensor(8), 0.5, torch.arange(1000), 64),
        keep_mask(torch.tensor(7 + (1 << 32)), 0.5, torch.arange(1000), 64),
        keep_mask(torch.tensor(7), 0.5, torch.arange(1, 1001), 64),
        keep_mask(torch.tensor(7), 0.5, torch.arange(1000), 64, torch.tensor(1)),
    ):
        assert abs((base == other).double().mean() - 0.5) < 0.01


def test_fractions_are_uniform():
    u = random_fractions(torch.tensor(3), 100_001).sort().values
    assert u[0] >= 0
    assert u[-1] < 1
    # Kolmogorov-Smirnov at one in a million: 2.7 / sqrt(n).
    assert (u - (torch.arange(100_001) + 0.5) / 100_001).abs().max() < 2.7 / 100_001**0.5


def every_shape_agrees_with_the_reference():
    shapes = [
        (0, 8),
        (1, 1),
        (1000, 1),
        (300, 20),
        (129, 64),
        (3, 1024),
        *((5, d) for d in range(2, 40)),
    ]
    for shape in shapes:
        for seed in (7, -1, 1 << 40):
            x = torch.randn(shape, requires_grad=True)
            results = []
            for backend in ("cpu", "reference"):
                with use_backend(backend):
                    y = ops.dropout(x, dropout_p=0.3, seed=torch.tensor(seed))
                    results.append((y, torch.autograd.grad(y, x, torch.ones_like(x))[0]))
            assert all(torch.equal(ours, theirs) for ours, theirs in zip(*results))


@pytest.mark.parametrize("isa", SUPPORTED)
def test_every_instruction_set_gives_the_bits_of_the_reference(isa):
    assert_passes_in(isa, every_shape_agrees_with_the_reference)


def test_rows_beyond_a_task_and_any_number_of_threads_give_the_same_bits(monkeypatch):
    poison(monkeypatch)
    x = torch.randn(1000, 50)
    assert_same_bits_for_any_number_of_threads(
        lambda: [ops.dropout(x, dropout_p=0.3, seed=torch.tensor(7))]
    )


def test_transposed_and_sliced_inputs_serve():
    x = torch.randn(40, 60)
    for strided in (x.T, x[:, ::3]):
        ours, theirs = (
            ops.dropout(t, dropout_p=0.5, seed=torch.tensor(3))
            for t in (strided, strided.contiguous())
        )
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("dropout_p", [-0.1, 1.0, float("nan")])
def test_dropout_p_outside_its_range_is_refused(dropout_p):
    with pytest.raises(ValueError, match=r"dropout_p must lie in \[0, 1\)"):
        ops.dropout(torch.ones(2, 2), dropout_p=dropout_p)


def test_a_seed_that_is_no_int64_scalar_is_refused():
    for seed in (torch.tensor(1.0), torch.tensor([1, 2]), 3):
        with pytest.raises(ValueError, match="seed must be an int64 tensor"):
            ops.dropout(torch.ones(2, 2), dropout_p=0.5, seed=seed)
