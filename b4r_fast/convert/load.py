"""A checkpoint of any system that is known here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import InputError, first_line
from . import huggingface, recbole, rectools, replay, tensorflow, vae_pytorch
from .converted import Converted, Format, Source
from .inert import read_checkpoint
from .item_ids import read_item_ids

AUTO = "auto"
FORMATS: dict[str, Format] = {
    "huggingface": huggingface,
    "rectools": rectools,
    "replay": replay,
    "recbole": recbole,
    "vae-pytorch": vae_pytorch,
    "tensorflow": tensorflow,
}


def load(
    path: str | Path,
    *,
    source: str = AUTO,
    items: str | Path | None = None,
    mask_id: int | None = None,
) -> Converted:
    """A model that another system has trained and saved, with its weights and the raw ids of its
    items. Nothing in the file is run.

    path: a folder of Hugging Face's save_pretrained; a checkpoint of RecTools, RePlay (both
    Lightning's), RecBole or BERT4Rec-VAE-Pytorch; of the authors' code the prefix of a checkpoint,
    or its variables in a .npz file. source: which of these, by the names of the command line; auto:
    by what is in it. items: a file of raw ids, as read_item_ids takes it, where the checkpoint has
    none. mask_id: the token of [MASK], where the checkpoint does not say it. Raises InputError for
    a checkpoint of none of them, and for a model that has no BERT4Rec.
    """
    path = Path(path)
    if source not in (AUTO, *FORMATS):
        raise InputError(f"`source` must be {AUTO} or one of {', '.join(FORMATS)}, got {source!r}")
    try:
        name, converted = _converted(path, source, mask_id)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{path}: {first_line(error)}") from None
    except Exception as error:  # what is absent or damaged may show anywhere
        raise InputError(
            f"{path}: not as the versions that are known write it, or damaged"
            f" ({type(error).__name__}: {first_line(error)})"
        ) from None
    raw = converted.item_ids
    if items is not None:
        raw = read_item_ids(Path(items), converted.model.config.num_items)
    return replace(converted, item_ids=raw, source=name)


def _converted(path: Path, source: str, mask_id: int | None) -> tuple[str, Converted]:
    """And the name of the system."""
    checkpoint = Source(path, _content(path), mask_id)
    found = [name for name in FORMATS if FORMATS[name].matches(checkpoint)]
    if source == AUTO and not found:
        raise InputError(f"{path}: a checkpoint of none of {', '.join(FORMATS)}")
    if source != AUTO and source not in found:
        whose = f"it looks like one of {found[0]}" if found else "nor of another that is known"
        raise InputError(f"{path}: no checkpoint of {source}; {whose}")
    name = found[0] if source == AUTO else source
    return name, FORMATS[name].convert(checkpoint)


def _content(path: Path) -> Any:
    if path.is_dir():
        if (saved := huggingface.read(path)) is None:
            raise InputError(
                f"{path}: a folder without the {huggingface.CONFIG} of a BertForMaskedLM; give the"
                " file of a checkpoint"
            )
        return saved
    return tensorflow.read(path) or read_checkpoint(path)
