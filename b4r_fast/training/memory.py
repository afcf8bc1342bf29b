"""What a run takes of memory at least. A system that promises more than it has kills a process that
uses it, without a word; so what cannot fit is refused before.
"""

from __future__ import annotations

import os

from ..errors import InputError
from ..model import BERT4RecConfig

FLOAT, INT = 4, 8  # bytes


def check_memory(config: BERT4RecConfig) -> None:
    """Raises InputError for sizes that the machine has no memory to train."""
    if not hasattr(os, "sysconf"):
        return  # not a POSIX system
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if (needed := least_bytes(config)) > there:
        raise InputError(
            f"with these sizes training takes {needed / 2**30:,.0f} GiB of memory at least, and"
            f" there are {there / 2**30:,.0f}: give a smaller `hidden_size`, `num_layers`,"
            " `max_length` or `num_negatives`"
        )


def least_bytes(config: BERT4RecConfig) -> int:
    """Of weights, gradients and both of AdamW's moments, and of a step's negatives."""
    d = config.hidden_size
    layer = 4 * d * d + 2 * d * config.intermediate_size
    weights = (config.num_items + config.max_length) * d + config.num_layers * layer
    negatives = config.num_negatives * (INT + d * FLOAT) if config.loss == "sampled" else 0
    return 4 * FLOAT * weights + negatives
