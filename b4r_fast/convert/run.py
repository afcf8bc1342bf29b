"""A converted model as a run folder: it recommends, is evaluated, and training starts from it."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from ..data import RawIds
from ..data.fingerprint import PARTS, of_ids
from ..model import BERT4RecConfig
from ..training import RunFile, TrainSettings
from ..training.folder import check_room, start_folder, write_run_file
from ..training.lock import locked
from ..training.origin import ITEMS
from .converted import Converted


def write_run(run: Path, converted: Converted, source: str, *, overwrite: bool = False) -> None:
    """config.json, model.safetensors, run.json, and items.parquet where raw ids are known. source:
    what it was converted from. Raises InputError for a folder that holds something already.
    """
    config, raw = converted.model.config, converted.item_ids
    shared = {field.name for field in fields(BERT4RecConfig)} & {
        field.name for field in fields(TrainSettings)
    }
    settings = TrainSettings(**{name: getattr(config, name) for name in shared})
    file = RunFile(None, f"converted from {source}", 1, settings)
    check_room(run, overwrite)
    with locked(run):
        check_room(run, overwrite)
        start_folder(run, file)
        converted.model.save_pretrained(run)
        if raw:
            RawIds.write(run / ITEMS, raw, first=1)
            items = of_ids(RawIds(run / ITEMS, "item", first=1))
            digests = dict.fromkeys(PARTS, "") | {"items": items}
            write_run_file(run, RunFile(None, file.preset, file.threads, settings, digests))
