"""The raw ids of a checkpoint's items, where they stand in another file."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..data import RawIds
from ..errors import InputError
from .inert import read_checkpoint


def read_item_ids(file: Path, num_items: int) -> list[str]:
    """The raw id of each item from 1 on.

    file: text with a raw id a line, in the order of the model's items; JSON with a list of them, or
    their numbers from 1 on by raw id; a Parquet file with the columns id and raw; dataset.pkl of
    BERT4Rec-VAE-Pytorch; the data set that RecBole saved; or the authors' .vocab. Raises InputError
    where it is none of these, or not of these items.
    """
    if not file.is_file():
        raise InputError(f"{file}: no such file; it would hold the raw ids of the items")
    found = _in(file)
    if isinstance(found, Mapping):
        numbers = {number: raw for raw, number in found.items() if _is_number(number)}
        if missing := [i for i in range(1, num_items + 1) if i not in numbers]:
            raise InputError(f"{file}: has no raw id of item {missing[0]} of {num_items}")
        found = [numbers[i] for i in range(1, num_items + 1)]
    raw = [str(item) for item in found]
    if len(raw) != num_items:
        raise InputError(f"{file}: has {len(raw)} raw ids, and the model {num_items} items")
    ((often, times),) = Counter(raw).most_common(1)
    if times > 1:
        raise InputError(f"{file}: has {often!r} twice")
    return raw


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _in(file: Path) -> Sequence | Mapping:
    """Raw ids in order, or numbers by raw id."""
    kind = file.suffix.lower()
    if kind == ".parquet":
        return [*RawIds(file, "item", first=1).raw]
    if kind in (".pkl", ".pth", ".vocab"):
        content = read_checkpoint(file)
        state = content if isinstance(content, dict) else getattr(content, "state", None)
        if isinstance(state, dict):
            if "smap" in state:
                return state["smap"]
            if "token_to_ids" in state:
                return state["token_to_ids"]
            if "field2id_token" in state:
                return state["field2id_token"][state["iid_field"]][1:]
        raise InputError(f"{file}: a pickle without smap, token_to_ids or field2id_token")
    try:
        text = file.read_text("utf-8")
        content = json.loads(text) if kind == ".json" else text.splitlines()
    except ValueError as error:
        raise InputError(f"{file}: not readable as raw ids: {error}") from None
    if not isinstance(content, list | dict):
        raise InputError(f"{file}: must be a list of raw ids, or their numbers by raw id")
    return content
