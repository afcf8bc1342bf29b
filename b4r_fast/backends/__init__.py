"""Which implementation of an op runs: one place that knows the backends.

A backend is a package below this one with

    DEVICES      the device types that it serves
    DTYPES       the floating dtypes that it serves
    UNAVAILABLE  None, or one line that says why it cannot run here
    OPERATORS    {operator: function}, operators named and called as they are registered with torch.library

Operators that a backend does not hold run in the reference backend, which holds all of them.
"""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType

import torch

NAMES = ("reference", "cpu", "triton", "cuda")

# For tensors of a device type: the order in which backends are asked.
DEFAULT_ORDER = {"cpu": ("cpu", "reference"), "cuda": ("cuda", "triton", "reference")}


@functools.cache
def _load(name: str) -> ModuleType:
    return importlib.import_module(f"{__name__}.{name}")


def backends() -> dict[str, str]:
    """What is available here: for every backend "available (operators ...)", or "not available: " and the reason."""
    report = {}
    for name in NAMES:
        reason = _load(name).UNAVAILABLE
        report[name] = f"not available: {reason}" if reason else f"available ({', '.join(operators(name))})"
    return report


def operators(backend: str) -> list[str]:
    """What a backend holds itself."""
    return sorted(_load(backend).OPERATORS)


def _require(name: str) -> str:
    if name not in NAMES:
        raise ValueError(f"backend must be one of {', '.join(NAMES)}, got {name!r}")
    if reason := _load(name).UNAVAILABLE:
        raise ValueError(f"backend {name!r} is not available here: {reason}")
    return name


_preferred: str | None = None


@contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Prefer one backend for the operators, devices and dtypes that it serves; holds for all threads of the process.

    The environment variable B4R_FAST_BACKEND does the same for a whole process. Raises ValueError where the backend is not available.
    """
    global _preferred
    before, _preferred = _preferred, _require(name)
    try:
        yield
    finally:
        _preferred = before


@functools.cache
def _find(operator: str, device: str, dtype: torch.dtype, preferred: str | None, besides: str | None) -> Callable:
    order = DEFAULT_ORDER.get(device, ("reference",))
    for name in (preferred, *order) if preferred else order:
        if name == besides:
            continue
        backend = _load(name)
        if not backend.UNAVAILABLE and device in backend.DEVICES and dtype in backend.DTYPES and operator in backend.OPERATORS:
            return backend.OPERATORS[operator]
    raise NotImplementedError(f"no backend holds {operator} for {dtype} on {device}")


def implementation(operator: str, tensor: torch.Tensor, *, besides: str | None = None) -> Callable:
    """The function that runs this operator for tensors like this one, which decides by its device and dtype.

    besides: a backend that asks this for what it leaves to others.
    """
    dtype = tensor.dtype if tensor.is_floating_point() else torch.float32
    return _find(operator, tensor.device.type, dtype, _preferred, besides)


if name := os.environ.get("B4R_FAST_BACKEND"):
    _preferred = _require(name)
