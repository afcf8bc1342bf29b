"""A model as a folder of two files: config.json and model.safetensors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import safetensors
import safetensors.torch

from ..errors import InputError
from ..files import atomic_write
from .config import CONFIG, BERT4RecConfig

if TYPE_CHECKING:
    from .bert4rec import BERT4Rec

WEIGHTS = "model.safetensors"


def save(model: BERT4Rec, folder: Path) -> None:
    """Write both files, each atomically. Raises InputError where they cannot be written."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()
    }
    with atomic_write(folder / WEIGHTS) as path:
        try:
            safetensors.torch.save_file(tensors, path, metadata={"format": "pt"})
        except safetensors.SafetensorError as error:  # a full disk too
            raise OSError(str(error)) from error
    with atomic_write(folder / CONFIG) as path:
        path.write_text(model.config.to_json())


def load(kind: type[BERT4Rec], folder: Path) -> BERT4Rec:
    """A model of this class, with the weights that save wrote. Raises InputError for files that are
    absent, truncated or foreign.
    """
    model = kind(BERT4RecConfig.from_json_file(folder / CONFIG))
    weights = folder / WEIGHTS
    if not weights.is_file():
        raise InputError(f"{weights}: no such file; a saved model has {CONFIG} and {WEIGHTS}")
    try:
        tensors = safetensors.torch.load_file(weights)
    except (safetensors.SafetensorError, OSError) as error:
        raise InputError(
            f"{weights}: not a readable safetensors file, it may be truncated: {error}"
        ) from None
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip()
        raise InputError(f"{weights}: does not fit the {CONFIG} beside it: {reason}") from None
    return model
