"""A package with our patch and without: python -m tests.peers.check NAME, in its environment,
prints what came out as JSON.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import warnings
from contextlib import nullcontext
from dataclasses import replace
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from statistics import median

import numpy as np
import torch

from b4r_fast.convert import load

from .log import Peer, Size, histories

PACKAGES = {
    "huggingface": "transformers",
    "rectools": "rectools",
    "recbole": "recbole",
    "replay": "replay-rec",
}
CURVE = Size(dropout=0.0, users=80, epochs=5)  # 50 steps
STEP = Size(length=100, hidden=64, dropout=0.2, users=160, items=3000, batch=32, epochs=1)


def train(name: str, size: Size, *, patched: bool) -> Peer:
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(0)
    build = import_module(f".{name}", __package__).Peer
    patch = import_module(f"b4r_fast.integrations.{name}").patch
    with patch() if patched else nullcontext(), warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        peer = build(histories(size), size)
    left = [str(warning.message) for warning in said if "b4r_fast" in str(warning.message)]
    assert not left, left
    return peer


def difference_of_curves(name: str) -> float:
    """The largest relative one, of losses that fall."""
    theirs, ours = (train(name, CURVE, patched=patched).watch.losses for patched in (False, True))
    assert len(theirs) == len(ours) >= 50, (len(theirs), len(ours))
    assert theirs[-1] < theirs[0]
    return max(abs(a - b) / abs(a) for a, b in zip(theirs, ours))


def seconds_of_steps(name: str) -> dict[str, float]:
    """Medians, of two runs each in turn."""
    found: dict[bool, list[float]] = {False: [], True: []}
    for patched in (False, True, False, True):
        found[patched] += train(name, STEP, patched=patched).watch.seconds[1:]
    return {"before": median(found[False]), "after": median(found[True])}


def difference_of_scores(name: str) -> float:
    """Of a model that was trained with the patch, read from its checkpoint, to its own inference,
    relative to the largest score.
    """
    size = replace(CURVE, dropout=0.1)
    peer, log = train(name, size, patched=True), histories(size)
    with tempfile.TemporaryDirectory() as folder:
        file = peer.save(Path(folder))
        items = file.parent / "dataset.pth"
        found = load(
            file.parent if name == "huggingface" else file,
            items=items if items.exists() else None,
        )
    every = sorted({item for history in log for item in history})
    number = {item: i for i, item in enumerate(found.item_ids or every, 1)}
    scores = found.model.score([[number[item] for item in history] for history in log])
    theirs = peer.scores(log, every)
    ours = scores[:, [number[item] for item in every]]
    return float((ours - theirs).abs().max() / theirs.abs().max())


def main(name: str) -> None:
    torch.set_num_threads(1)
    found = {
        "package": f"{PACKAGES[name]} {version(PACKAGES[name])}",
        "scores": difference_of_scores(name),
        "curve": difference_of_curves(name),
        "step": seconds_of_steps(name),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
