"""Writes that happen wholly or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import InputError


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; it replaces path when the block ends well, and is removed when it does not.

    Raises InputError, naming the file and the system's reason, where it cannot be written; what was there before stays.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        before = f"; the previous {path.name} is untouched" if path.exists() else ""
        raise InputError(f"cannot write {path}: {error.strerror or error}{before}") from error
    finally:
        temporary.unlink(missing_ok=True)
