"""What `export` writes into a folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..data import RawIds
from ..errors import InputError
from ..serving import Recommender
from ..training.origin import ITEMS
from .programs import to_onnx, to_torch
from .vectors import item_vectors, user_vectors, write_vectors

USERS = "users.parquet"


def write_folder(
    folder: Path,
    run: Path,
    form: str,
    *,
    k: int = 10,
    exclude_seen: bool = True,
    data: Path | None = None,
) -> None:
    """form: "onnx", "torch", "vectors" or "npy". data: where users' histories come from, when not
    where run.json says. Raises InputError where the folder is no run.
    """
    recommender = Recommender(run, data)
    model, items = recommender.model, recommender.item_ids
    if form in ("onnx", "torch"):
        if not 1 <= k <= model.config.num_items:
            raise InputError(f"`k` must lie in [1, {model.config.num_items}], got {k}")
        write, name = (to_onnx, "model.onnx") if form == "onnx" else (to_torch, "model.pt2")
        write(model, folder / name, k, exclude_seen=exclude_seen)
        items.copy_to(folder / ITEMS)
        return
    users, histories = recommender.data.user_ids, recommender.histories
    of_users = np.concatenate([*user_vectors(model, histories)])
    if form == "npy":
        items.copy_to(folder / ITEMS)
        users.copy_to(folder / USERS)
    kind = ".npy" if form == "npy" else ".parquet"
    tables: list[tuple[str, RawIds, np.ndarray]] = [
        ("item", items, item_vectors(model)),
        ("user", users, of_users),
    ]
    for name, ids, vectors in tables:
        write_vectors(folder / f"{name}s{kind}", name, ids, vectors)
