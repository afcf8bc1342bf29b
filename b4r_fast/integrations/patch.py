"""Replacing methods of other people's classes, and putting them back."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Any

Method = Callable[..., Any]


class CannotServe(Exception):
    """Why a call goes to the package's own method."""


class Patch:
    """methods: gives the classes and the names of their methods with what takes their place, when
    the patch is applied; it is called as the method is, with `original` before, and may raise
    CannotServe.
    """

    def __init__(self, package: str, methods: Callable[[], dict[tuple[type, str], Method]]) -> None:
        self.package, self._methods = package, methods
        self._originals: dict[tuple[type, str], Method] = {}
        self._said: set[str] = set()

    def apply(self) -> Patch:
        """Once or often; as a context manager it is undone at the end. Raises ImportError where
        the package is not installed.
        """
        if not self._originals:
            for (owner, name), replacement in self._methods().items():
                original = getattr(owner, name)
                self._originals[owner, name] = original
                setattr(owner, name, self._in_place_of(original, replacement))
        return self

    def undo(self) -> None:
        while self._originals:
            (owner, name), original = self._originals.popitem()
            setattr(owner, name, original)

    def __enter__(self) -> Patch:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.undo()

    def _in_place_of(self, original: Method, replacement: Method) -> Method:
        @functools.wraps(original)
        def method(*arguments: Any, **named: Any) -> Any:
            try:
                return replacement(*arguments, **named)
            except CannotServe as reason:
                self._say_once(str(reason))
                return original(*arguments, **named)

        return method

    def _say_once(self, reason: str) -> None:
        if reason and reason not in self._said:
            self._said.add(reason)
            warnings.warn(
                f"b4r_fast leaves a training step to {self.package}: {reason}", stacklevel=4
            )


def need(served: bool, reason: str) -> None:
    """Raises CannotServe, with the reason, unless it is served."""
    if not served:
        raise CannotServe(reason)
