"""Writes that happen wholly or not at all: a temporary name in the same folder, fsync, rename.

A write that fails or is interrupted leaves what was there before. A process killed outright may
leave a hidden `.NAME.*.partial` behind.
"""

from __future__ import annotations

import ctypes
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import InputError

AT_FDCWD, RENAME_EXCHANGE = -100, 2  # of Linux's renameat2


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; it replaces path when the block ends well, and is
    removed when it does not.

    Raises InputError, naming the file and the system's reason, where it cannot be written. An
    OSError about another file passes unchanged.
    """
    target, temporary = _beside(Path(path))
    try:
        with _named(Path(path), temporary):
            temporary.touch()
            mode = temporary.stat().st_mode  # by the umask; safetensors' own would be 0600
            yield temporary
            os.chmod(temporary, mode)
            _sync(temporary)
            os.replace(temporary, target)
            _sync(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """The same for a whole folder, which is replaced with all that it holds: the two names are
    swapped, then the old folder goes.

    Where the system cannot swap two names in one step the old folder is moved aside first, and back
    if the second move fails.
    """
    target, temporary = _beside(Path(path))
    new, old = temporary / "new", temporary / "old"
    try:
        with _named(Path(path), temporary):
            new.mkdir(parents=True)
            yield new
            for file in new.rglob("*"):
                _sync(file)
            if not target.exists() or not _swap(new, target):
                _move_into_place(new, target, old)
            _sync(target.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _beside(path: Path) -> tuple[Path, Path]:
    """Where path really lies, links followed, and a temporary name in the same folder, which is
    made where it is absent.
    """
    target = Path(os.path.realpath(path))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(path, error.strerror) from error
    return target, target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")


@contextmanager
def _named(path: Path, temporary: Path) -> Iterator[None]:
    """Turn an OSError of writing path into an InputError; write() itself names no file, so an error
    without a name is one of them.
    """
    try:
        yield
    except OSError as error:
        if isinstance(error.filename, str) and temporary not in (
            Path(error.filename),
            *Path(error.filename).parents,
        ):
            raise
        raise cannot_write(path, error.strerror or str(error)) from error


def cannot_write(path: Path, reason: str | None) -> InputError:
    """The error of a failed write, which also says that what was there before is still there."""
    before = f"; the previous {path.name} is untouched" if path.exists() else ""
    return InputError(f"cannot write {path}: {reason}{before}")


def _sync(path: Path) -> None:
    if path.is_dir() and os.name != "posix":
        return  # other systems do not open folders
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _swap(first: Path, second: Path) -> bool:
    """Swap two names in one step; False where the system or the file system cannot."""
    try:
        renameat2 = ctypes.CDLL(None).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    return (
        renameat2(AT_FDCWD, os.fsencode(first), AT_FDCWD, os.fsencode(second), RENAME_EXCHANGE) == 0
    )


def _move_into_place(new: Path, target: Path, old: Path) -> None:
    with suppress(FileNotFoundError):
        os.rename(target, old)
    try:
        os.rename(new, target)
    except BaseException:
        if old.exists():
            os.rename(old, target)
        raise
