"""Packages that only some parts need: imported when such a part is used, and named with what
installs them when they are absent.
"""

from __future__ import annotations

import importlib
from types import ModuleType

from .errors import InputError


def require(module: str, package: str = "b4r-fast[train]") -> ModuleType:
    """Import a module. package: what brings it. Raises InputError where it is not installed."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise InputError(
            f'{error.name} is not installed; `pip install "{package}"` brings it'
        ) from None
