"""What is read where a log is named: the file itself, or a copy where that can be read only once,
as a pipe can, or not by DuckDB.
"""

from __future__ import annotations

import codecs
import gzip
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError

# The first two bytes of UTF-32 are those of UTF-16, so it comes first.
MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def encoding_of(start: bytes) -> str:
    """By the byte-order mark that a text may start with; UTF-8 without one."""
    return next((name for mark, name in MARKS.items() if start.startswith(mark)), "utf-8-sig")


@dataclass(frozen=True)
class Source:
    """A regular file with the content of a log; packed: by gzip."""

    file: Path
    packed: bool

    def open(self, mode: str, **options: Any) -> Any:
        return (gzip.open if self.packed else open)(self.file, mode, **options)


def source_of(path: Path, scratch: Path, *, binary: bool) -> Source:
    """What to read of the log that path names. binary: DuckDB seeks in it, so it may not be packed.

    Raises InputError where there is nothing to read; gzip's errors for what it cannot unpack.
    """
    source = Source(path, path.name.lower().endswith(".gz"))
    if not path.is_file():  # a pipe, or a terminal
        source = Source(_copied(path.open("rb"), scratch / "spooled"), source.packed)
    if source.file.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty")
    if binary:
        return _unpacked(source, scratch) if source.packed else source
    with source.open("rb") as file:
        encoding = encoding_of(file.read(4))
    return source if encoding == "utf-8-sig" else _in_utf8(path, source, encoding, scratch)


def _unpacked(source: Source, scratch: Path) -> Source:
    return Source(_copied(source.open("rb"), scratch / "unpacked"), packed=False)


def _in_utf8(path: Path, source: Source, encoding: str, scratch: Path) -> Source:
    try:
        text = source.open("rt", encoding=encoding, newline="")
        return Source(_copied(text, scratch / "in_utf8", "w", encoding="utf-8", newline=""), False)
    except UnicodeDecodeError:
        raise InputError(
            f"{path}: not {encoding.upper()} text, which its first bytes say it is"
        ) from None


def _copied(opened: Any, to: Path, mode: str = "wb", **options: Any) -> Path:
    with opened, open(to, mode, **options) as file:
        shutil.copyfileobj(opened, file)
    return to
