"""The vectors of items and users, for an index that finds the largest inner products.

An item's score is the product of the user's vector and its own. The bias of an item is one number
more in its vector, which stands against a 1 in the user's: so the products are those scores, and
rank as `recommend` does. An index that ranks by the cosine or by distance ranks otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..data import RawIds, Sequences
from ..data.duckdb_files import exactly
from ..extras import require
from ..files import atomic_write
from ..model import BERT4Rec

USERS_AT_A_TIME = 1024


def item_vectors(model: BERT4Rec) -> np.ndarray:
    """(num_items, width) fp32, row r is item r + 1. width: hidden_size, and 1 more with a bias."""
    vectors = model.item_embeddings.detach().float().cpu().numpy()
    if model.output_bias is None:
        return vectors
    bias = model.output_bias.detach().float().cpu().numpy()
    return np.concatenate((vectors, bias[:, None]), 1)


def user_vectors(model: BERT4Rec, histories: Sequences) -> Iterator[np.ndarray]:
    """(users, width) fp32 of a part of the users at a time, in their order."""
    for start in range(0, len(histories), USERS_AT_A_TIME):
        part = np.arange(start, min(start + USERS_AT_A_TIME, len(histories)))
        vectors = model.encode(histories.select(part).pack()).float().cpu().numpy()
        if model.output_bias is not None:
            vectors = np.concatenate((vectors, np.ones((len(part), 1), np.float32)), 1)
        yield vectors


def write_vectors(path: Path, kind: str, ids: RawIds, vectors: np.ndarray) -> None:
    """As Parquet, with a column of raw ids named by kind, "item" or "user", and one of lists; or
    where the name ends in .npy as an array, whose rows are in the order of the raw ids. Raises
    InputError where it cannot be written.
    """
    if path.suffix == ".npy":
        with atomic_write(path) as partial, open(partial, "wb") as file:
            np.save(file, vectors)
        return
    columns = {"raw": np.asarray(ids.raw, dtype=object)}
    columns |= {f"v{i}": np.ascontiguousarray(column) for i, column in enumerate(vectors.T)}
    listed = ", ".join(name for name in columns if name != "raw")
    connection = require("duckdb").connect()
    with atomic_write(path) as partial, exactly(partial) as file:
        connection.execute(
            f"COPY (SELECT raw AS {kind}, list_value({listed}) AS vector FROM columns)"
            " TO ? (FORMAT parquet)",
            [file],
        )
