"""What stands on the terminal while a command does not answer yet, and is gone afterwards."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

from ..errors import InputError
from .verbatim import verbatim

# What the backends read when they are imported; what is wrong with it is a ValueError of theirs.
VARIABLES = ("B4R_FAST_BACKEND", "B4R_FAST_ISA")


@contextmanager
def working(step: str) -> Iterator[Callable[[str], None]]:
    """Says what goes on; yields what is called with the next step."""
    with Console(stderr=True).status(verbatim(step)) as status:
        yield lambda step: status.update(verbatim(step))


@contextmanager
def loading(what: str) -> Iterator[None]:
    """Around the imports of what computes, which take seconds.

    Raises InputError where a variable of the environment asks for a backend that is not here.
    """
    with working(f"loading {what}"):
        import torch  # noqa: F401  # its own errors are no variable's

        try:
            from .. import ops  # noqa: F401
            from ..backends import operators

            operators("cpu")  # which imports that backend
        except ValueError as error:
            given = [f"{name}={os.environ[name]}" for name in VARIABLES if os.environ.get(name)]
            if not given:
                raise
            raise InputError(f"{' '.join(given)}: {error}") from None
        yield
