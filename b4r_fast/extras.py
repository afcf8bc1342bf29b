"""Packages that only some parts need: imported when such a part is used, and named with what
installs them when they are absent.
"""

from __future__ import annotations

import importlib
from types import ModuleType

from .errors import InputError


def require(module: str) -> ModuleType:
    """Import a package of the "train" extra. Raises InputError where it is not installed."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise InputError(
            f'{error.name} is not installed; `pip install "b4r-fast[train]"` brings it'
        ) from None
