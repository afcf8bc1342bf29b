"""Where the rows of the item table start, when it is not at random."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..data import PreparedData, RawIds, Sequences
from ..data.duckdb_files import exactly, table
from ..errors import InputError
from ..extras import require
from ..model import BERT4Rec
from .item_vectors import neighbour_vectors
from .origin import ITEMS
from .settings import NEIGHBOURS, RunFile

DEVIATION = 0.05  # of rows that come from elsewhere


def init_items(
    model: BERT4Rec, source: str, data: PreparedData, train: Sequences, seed: int
) -> None:
    """Write into the item table, and into the output table where that is another one, the vectors
    of the items that `source` has; the others keep their random start.

    source: "neighbours"; a run folder, whose rows are taken as they are; or a Parquet file with the
    columns item, a raw id, and vector, a list of numbers. Vectors longer than the model is wide
    come down to their principal components. Raises InputError for a source that is none of these,
    has shorter vectors, or none for any item.
    """
    size = model.config.hidden_size
    if source == NEIGHBOURS:
        rows = scaled(neighbour_vectors(train, size, seed))
    elif (Path(source) / RunFile.NAME).is_file():
        theirs = BERT4Rec.from_pretrained(source).item_embedding.weight.detach()[1:-1]
        raw = RawIds(Path(source) / ITEMS, "item", first=1).raw
        placed = _placed(raw, theirs, data.item_ids, source)
        rows = placed if theirs.shape[1] == size else scaled(_narrowed(placed, size, source))
    else:
        rows = scaled(_narrowed(_placed(*_read(source), data.item_ids, source), size, source))
    known = rows.any(1)
    with torch.no_grad():
        for start in (model.item_embedding.weight[1:-1], model.item_embeddings):
            start[known] = rows[known].to(start)


def scaled(vectors: Tensor) -> Tensor:
    """To one deviation, so that no item begins louder than another."""
    deviation = vectors.square().mean(1, keepdim=True).sqrt()
    return DEVIATION * vectors / deviation.clamp(min=1e-12)


def _placed(raw: np.ndarray, vectors: Tensor, item_ids: RawIds, source: str) -> Tensor:
    """(num_items, width): the rows of our items, 0 where there is none."""
    ours = {*item_ids.known(raw)}
    kept = [place for place, item in enumerate(raw) if item in ours]
    if not kept:
        raise InputError(f"{source}: has a vector for none of the {len(item_ids)} items")
    rows = torch.zeros(len(item_ids), vectors.shape[1])
    rows[item_ids.to_internal(raw[kept]) - 1] = vectors[kept].float()
    return rows


def _narrowed(vectors: Tensor, size: int, source: str) -> Tensor:
    """The principal components, as many as the model is wide."""
    if vectors.shape[1] < size:
        raise InputError(
            f"{source}: its vectors have {vectors.shape[1]} numbers, and the model is {size} wide;"
            f" give a `hidden_size` of at most {vectors.shape[1]}"
        )
    if vectors.shape[1] == size:
        return vectors
    known = vectors.any(1)
    centred = vectors[known] - vectors[known].mean(0)
    _, axes = torch.linalg.eigh(centred.T @ centred)  # by rising variance
    narrow = vectors.new_zeros(len(vectors), size)
    narrow[known] = centred @ axes[:, -size:]
    return narrow


def _read(source: str) -> tuple[np.ndarray, Tensor]:
    """The raw ids and their vectors."""
    duckdb = require("duckdb")
    if not Path(source).is_file():
        raise InputError(
            f"`init_items` must be {NEIGHBOURS}, a run folder or a Parquet file, got {source!r}"
        )
    try:
        with exactly(Path(source)) as file:
            columns = (
                duckdb.connect()
                .execute(
                    f"SELECT item::VARCHAR AS item, vector::FLOAT[] AS vector"
                    f" FROM {table('read_parquet')}",
                    [file],
                )
                .fetchnumpy()
            )
        vectors = torch.from_numpy(np.stack([*columns["vector"]]))
    except (duckdb.Error, ValueError) as error:
        raise InputError(
            f"{source}: not a Parquet file with the columns item and vector, lists of one length:"
            f" {str(error).splitlines()[0]}"
        ) from None
    if not torch.isfinite(vectors).all():
        raise InputError(f"{source}: holds a number that is not finite")
    return np.asarray(columns["item"], dtype=object), vectors
