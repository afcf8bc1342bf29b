"""From the authors' code: a checkpoint of TensorFlow, or its variables in a .npz file. Beside it
lie the bert_config*.json of the model and the .vocab of the data.

The variables are those of Google's BERT, so they become Hugging Face's first. Where [MASK] stands
among the last three tokens depends on the hash seed of the process that wrote the .vocab.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError, first_line
from ..extras import require
from .converted import Converted, Source
from .huggingface import DEFAULTS, check, converted
from .inert import read_checkpoint

TABLE = "bert/embeddings/word_embeddings"
OF_TRAINING = re.compile(r"global_step|adam_[mv]$|beta[12]_power|/Adam(_1)?$")
NAMES = {"gamma": "weight", "beta": "bias", "kernel": "weight"}
TABLES = ("word_embeddings", "token_type_embeddings", "position_embeddings")
SPECIAL = 4  # rows that are no items: 0, [MASK] and two that are not used


@dataclass(frozen=True)
class Variables:
    """By their names in TensorFlow."""

    values: Mapping[str, np.ndarray]


def read(path: Path) -> Variables | None:
    """path: a .npz file, or the prefix or the .index file of a checkpoint; None for what is
    neither.
    """
    if path.suffix == ".npz":
        try:
            with np.load(path, allow_pickle=False) as file:
                return Variables({name: file[name] for name in file.files})
        except Exception as error:  # of zip too
            reason = first_line(error)
            raise InputError(f"{path}: not readable as arrays of NumPy: {reason}") from None
    prefix = path.with_suffix("") if path.suffix == ".index" else path
    if not prefix.with_name(f"{prefix.name}.index").is_file():
        return None
    reader = require("tensorflow", "tensorflow").train.load_checkpoint(str(prefix))
    names = [name for name in reader.get_variable_to_shape_map() if not OF_TRAINING.search(name)]
    return Variables({name: reader.get_tensor(name) for name in names})


def matches(source: Source) -> bool:
    return isinstance(source.content, Variables) and TABLE in source.content.values


def convert(source: Source) -> Converted:
    folder = source.path.absolute().parent
    file = _beside(folder, "bert_config*.json", "the number of heads")
    config = SimpleNamespace(**DEFAULTS | json.loads(file.read_text()))
    check(config)
    mask_id, raw = source.mask_id, None
    if mask_id is None:
        vocabulary = _beside(folder, "*.vocab", "which token [MASK] is, unless `mask_id` says it")
        tokens = read_checkpoint(vocabulary).state["token_to_ids"]
        mask_id = tokens["[MASK]"]
        raw = sorted(tokens, key=tokens.__getitem__)[: config.vocab_size - SPECIAL]
    items = range(1, config.vocab_size - SPECIAL + 1)
    weights = dict(map(_named, source.content.values, source.content.values.values()))
    model = converted(config, weights, [0, *items, mask_id])
    left_out = ["the output weights of padding, [MASK] and two tokens that are not used"]
    return Converted(model, raw, left_out)


def _beside(folder: Path, pattern: str, what: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise InputError(
            f"{folder}: has {len(found)} files {pattern}, and one must say {what}; copy it there"
        )
    return found[0]


def _named(name: str, value: np.ndarray) -> tuple[str, Tensor]:
    """As Hugging Face names it."""
    *scope, last = name.split("/")
    if last in TABLES:
        last = f"{last}.weight"
    elif (*scope, last) == ("cls", "predictions", "output_bias"):
        last = "bias"
    place = ".".join([*scope, NAMES.get(last, last)])
    tensor = torch.from_numpy(np.asarray(value))
    place = re.sub(r"\.layer_(\d+)\.", r".layer.\1.", place)
    return place, tensor.T if last == "kernel" else tensor
