"""Histories and candidates in raw ids, a line each, read as `prepare` reads text with one sequence
a line; and as JSON, for ids that blanks cannot separate.
"""

from __future__ import annotations

import json
import re

from ..errors import InputError
from .sources import encoding_of


def read_histories(content: bytes, name: str) -> list[list[str]]:
    """The raw ids of each line of a file, separated by blanks or tabs; or all lines are JSON lists,
    if the first that is not blank is one. A blank line has no ids.

    name: of the file, for errors. Raises InputError where it is no text, or a line no such list.
    """
    encoding = encoding_of(content)
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        raise InputError(f"{name}: not {encoding.removesuffix('-sig').upper()} text") from None
    # Python's splitlines and split know more separators, which may be part of an id.
    lines = [line.strip(" \t\r") for line in text.removesuffix("\n").split("\n")] if text else []
    if isinstance(_json(next(filter(None, lines), "")), list):
        return [_ids(line, f"{name}: line {number}") for number, line in enumerate(lines, 1)]
    return [re.split(r"[ \t]+", line) if line else [] for line in lines]


def _json(line: str) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _ids(line: str, place: str) -> list[str]:
    ids = _json(line) if line else []
    if not isinstance(ids, list) or not all(type(raw) in (str, int) for raw in ids):
        raise InputError(
            f'{place}: not a JSON list of ids, such as ["the id", 42], which the first line is'
        )
    return [str(raw) for raw in ids]
