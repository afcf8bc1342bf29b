"""What every package is shown: a small log whose item names say nothing."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

USERS, ITEMS = 40, 25
LENGTH, HIDDEN = 8, 8  # of the models; LENGTH with [MASK]


def histories(seed: int = 0) -> list[list[str]]:
    """A list a user, oldest first, from 2 items to more than a model reads; no item twice."""
    generator = np.random.default_rng(seed)
    names = [f"{number:x}" for number in generator.permutation(2**24)[:ITEMS]]
    lengths = generator.integers(2, LENGTH + 4, USERS)
    return [[names[i] for i in generator.permutation(ITEMS)[:length]] for length in lengths]


class Peer(Protocol):
    """A trained model of a package."""

    def __init__(self, log: list[list[str]]) -> None: ...

    def save(self, folder: str) -> str:
        """Where the checkpoint is, as the package writes it."""

    def scores(self, histories: list[list[str]], items: list[str]) -> Any:
        """(histories, items), by the package's own inference."""
