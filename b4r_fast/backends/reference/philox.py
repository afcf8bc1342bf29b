"""Random bits as a pure function of (seed, coordinates): Philox4x32-7, docs/dropout.md.

Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011: 7 rounds are the fewest that
pass BigCrush. Words of 32 bits live in int64 tensors, since torch has no arithmetic on uint32; a
product of two wraps in int64, which keeps both halves.
"""

from __future__ import annotations

import torch
from torch import Tensor

ROUNDS = 7
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
LOW = 0xFFFFFFFF


def philox(
    seed: Tensor, counter: tuple[Tensor, Tensor | int, Tensor | int, int], rounds: int = ROUNDS
) -> tuple[Tensor, ...]:
    """The four words of one Philox call for each counter (c0, c1, c2, c3), tensors that broadcast.
    The key is the seed's two halves.
    """
    c0, c1, c2, c3 = torch.broadcast_tensors(
        *(torch.as_tensor(c, device=seed.device) for c in counter)
    )
    k0, k1 = seed & LOW, (seed >> 32) & LOW
    for _ in range(rounds):
        p0, p1 = c0 * MULTIPLIERS[0], c2 * MULTIPLIERS[1]
        c0, c1, c2, c3 = (
            ((p1 >> 32) & LOW) ^ c1 ^ k0,
            p1 & LOW,
            ((p0 >> 32) & LOW) ^ c3 ^ k1,
            p0 & LOW,
        )
        k0, k1 = (k0 + WEYL[0]) & LOW, (k1 + WEYL[1]) & LOW
    return c0, c1, c2, c3


def dropout_threshold(dropout_p: float) -> int:
    """How many of the 65,536 values of a 16-bit field drop the element."""
    return min(round(dropout_p * 65536), 65535)


def dropout_scale(dropout_p: float) -> float:
    """What kept elements are multiplied by: one over the exact keep rate."""
    return 65536 / (65536 - dropout_threshold(dropout_p))


def keep_mask(
    seed: Tensor, dropout_p: float, rows: Tensor, columns: int, group: Tensor | int = 0
) -> Tensor:
    """Which elements are kept: (*broadcast(rows, group).shape, columns) bool. rows and group are
    integer tensors that broadcast.
    """
    octets = torch.arange((columns + 7) // 8, device=seed.device)
    group = torch.as_tensor(group, device=seed.device)
    w0, w1, w2, w3 = philox(seed, (rows[..., None], octets, group[..., None], 0))
    fields = torch.stack((w0 | (w1 << 32), w2 | (w3 << 32)), dim=-1).view(torch.int16)
    return fields.flatten(-2)[..., :columns] >= dropout_threshold(dropout_p) - 32768


def keep_scale(seed: Tensor | None, dropout_p: float, like: Tensor) -> Tensor | float:
    """What Dropout multiplies the elements of a (rows, columns) tensor by: 0 or the scale; 1.0 when
    nothing is dropped.
    """
    if dropout_p == 0.0 or seed is None:
        return 1.0
    rows = torch.arange(like.shape[0], device=like.device)
    return keep_mask(seed, dropout_p, rows, like.shape[1]).to(like.dtype) * dropout_scale(dropout_p)


def random_integers(seed: Tensor, count: int) -> Tensor:
    """(count,) int64, uniform in [0, 2^63): integer n is words 2 (n mod 2) and 2 (n mod 2) + 1 of
    counter (n div 2).
    """
    return _pairs(seed, count, lambda low, high: (high << 31) | (low >> 1))


def random_fractions(seed: Tensor, count: int) -> Tensor:
    """(count,) float64, uniform multiples of 2^-53 in [0, 1), from the same words as
    random_integers.
    """
    return _pairs(seed, count, lambda low, high: (high << 21) | (low >> 11)).double() * 2.0**-53


def random_words(seed: Tensor, count: int, stream: int) -> Tensor:
    """(count,) int64 in [0, 2^32): element n is word n mod 4 of counter (n div 4, 0, 0, stream)."""
    calls = torch.arange((count + 3) // 4, device=seed.device)
    return torch.stack(philox(seed, (calls, 0, 0, stream)), dim=-1).flatten()[:count]


def _pairs(seed: Tensor, count: int, combine) -> Tensor:
    calls = torch.arange((count + 1) // 2, device=seed.device)
    w0, w1, w2, w3 = philox(seed, (calls & LOW, calls >> 32, 0, 0))
    return torch.stack((combine(w0, w1), combine(w2, w3)), dim=-1).flatten()[:count]
