"""Going on from last.ckpt. All that we know of how Lightning lays out a checkpoint stands here, so
here an upgrade of it is mended.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from ..data import Batches
from ..errors import InputError, first_line
from .module import MINUTES, ClozeModule


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Raises InputError for a file that is absent, truncated or not a checkpoint of a
    training run.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint, it is lost; `overwrite` trains anew")
    try:
        # torch does not look at the checksums that it writes
        with zipfile.ZipFile(path) as archive:
            if (member := archive.testzip()) is not None:
                raise ValueError(f"{member} has another checksum than it was written with")
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError:  # torch's own text advises to run what is in there
        raise InputError(
            f"{path}: holds something other than tensors and plain values, as no training run"
            " writes; it is left unread, as it could run code"
        ) from None
    except Exception as error:  # a byte that is wrong may end anywhere in torch and pickle
        raise InputError(
            f"{path}: not a readable checkpoint, it may be truncated or damaged:"
            f" {first_line(error)}"
        ) from None
    if (
        not isinstance(checkpoint, dict)
        or "state_dict" not in checkpoint
        or "loops" not in checkpoint
    ):
        raise InputError(f"{path}: not the checkpoint of a training run")
    return checkpoint


def restore(checkpoint: dict[str, Any], module: ClozeModule, batches: Batches, path: Path) -> None:
    """Set the batches to where the checkpoint, read from path, was; all else Lightning restores
    itself when it is given the path.

    Raises InputError for the checkpoint of another model.
    """
    try:
        theirs = {name: tensor.shape for name, tensor in checkpoint["state_dict"].items()}
        place = checkpoint["loops"]["fit_loop"]["state_dict"]["combined_loader"][0]
    except (LookupError, TypeError, AttributeError):
        raise InputError(f"{path}: not the checkpoint of a training run") from None
    shapes = {name: tensor.shape for name, tensor in module.state_dict().items()}
    if shapes != theirs:
        name = next(iter(sorted(shapes.items() ^ theirs.items())))[0]
        raise InputError(
            f"{path}: is of another model than run.json describes: {name} is {theirs.get(name)},"
            f" not {shapes.get(name)}"
        )
    # Lightning restores a loader within an epoch only; after an epoch's end it would start with the
    # batches of the first.
    batches.load_state_dict(place)


def best_if_stopped(checkpoint: dict[str, Any]) -> float | None:
    """The best validation NDCG@10 where early stopping ended the run, else None: Lightning would
    train one more epoch before it notices.
    """
    stopped = any(state.get("stopped_epoch") for state in checkpoint["callbacks"].values())
    return best_of(checkpoint) if stopped else None


def best_of(checkpoint: dict[str, Any]) -> float:
    """The best validation NDCG@10 so far."""
    return checkpoint["callbacks"]["KeepBest"]["best"]


def minutes_of(checkpoint: dict[str, Any]) -> float:
    """How long the run has trained, 0 in a checkpoint of a version that did not note it."""
    return checkpoint[MINUTES]["all"] if MINUTES in checkpoint else 0.0
