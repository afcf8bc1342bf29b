"""Which implementation of an op runs: one place that knows the backends.

A backend is a package below this one with

    DEVICES      the device types that it serves
    DTYPES       the floating dtypes that it serves
    UNAVAILABLE  None, or one line that says why it cannot run here
    OPERATORS    {operator: function}, operators named and called as they are registered with
                 torch.library

and with files named as the ops, each with a tuple OPERATORS of what it holds; gather puts them
together. An operator that a backend does not hold, or not for these arguments (held_if), runs in
the next one, at last in the reference, which holds all of them.
"""

from __future__ import annotations

import functools
import importlib
import os
import pkgutil
import sys
from collections.abc import Callable, Iterable, Iterator
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
    """What is available here: for every backend "available (operators ...)", or "not available: "
    and the reason.
    """
    report = {}
    for name in NAMES:
        reason = _load(name).UNAVAILABLE
        report[name] = (
            f"not available: {reason}" if reason else f"available ({', '.join(operators(name))})"
        )
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
    """Prefer one backend for the operators, devices and dtypes that it serves; holds for all
    threads of the process.

    The environment variable B4R_FAST_BACKEND does the same for a whole process. Raises ValueError
    where the backend is not available.
    """
    global _preferred
    before, _preferred = _preferred, _require(name)
    try:
        yield
    finally:
        _preferred = before


def gather(package: str, path: Iterable[str]) -> dict[str, Callable]:
    """For a backend: the operators that its files list, by name. package, path: its __name__ and
    __path__.
    """
    files = sorted(
        file.name for file in pkgutil.iter_modules(path) if not file.name.startswith("_")
    )
    modules = [importlib.import_module(f"{package}.{file}") for file in files]
    return {
        operator.__name__: operator
        for module in modules
        for operator in getattr(module, "OPERATORS", ())
    }


@functools.cache
def _find(
    operator: str, device: str, dtype: torch.dtype, preferred: str | None, after: str | None
) -> Callable:
    """The function of the first backend that holds it; of those after one that has been asked."""
    order = DEFAULT_ORDER.get(device, ("reference",))
    if after is not None:
        order = order[order.index(after) + 1 :] if after in order else ("reference",)
    elif preferred is not None:
        order = (preferred, *order)
    for name in order:
        backend = _load(name)
        if (
            not backend.UNAVAILABLE
            and device in backend.DEVICES
            and dtype in backend.DTYPES
            and operator in backend.OPERATORS
        ):
            return backend.OPERATORS[operator]
    raise NotImplementedError(f"no backend holds {operator} for {dtype} on {device}")


def implementation(operator: str, tensor: torch.Tensor, after: str | None = None) -> Callable:
    """The function that runs this operator for tensors like this one, which decides by its device
    and dtype. after: a backend that has been asked, with all before it.
    """
    dtype = tensor.dtype if tensor.is_floating_point() else torch.float32
    return _find(operator, tensor.device.type, dtype, _preferred, after)


def held_if(holds: Callable[..., bool]) -> Callable[[Callable], Callable]:
    """Of a backend's operator that has no kernel for some arguments: where holds(*args) is false,
    the next backend runs it.

    The next one is that after this one, whichever was asked first, or two would wait for each
    other.
    """

    def decorate(operator: Callable) -> Callable:
        name, backend = operator.__name__, operator.__module__.split(".")[-2]

        @functools.wraps(operator)
        def run(*args):
            if holds(*args):
                return operator(*args)
            tensor = next(x for x in args if isinstance(x, torch.Tensor))
            return implementation(name, tensor, after=backend)(*args)

        run.holds = holds  # type: ignore[attr-defined]  # for the function of that name
        return run

    return decorate


def holds(backend: str, operator: str, *args) -> bool:
    """Whether a backend has a kernel of its own for this operator with these arguments, of which it
    looks at sizes and dtypes.
    """
    function = _load(backend).OPERATORS.get(operator)
    return function is not None and getattr(function, "holds", lambda *_: True)(*args)


class _Package(ModuleType):
    """b4r_fast.backends() is the report, b4r_fast.backends.triton a package: one name for both."""

    def __call__(self) -> dict[str, str]:
        return backends()


sys.modules[__name__].__class__ = _Package

if name := os.environ.get("B4R_FAST_BACKEND"):
    _preferred = _require(name)
