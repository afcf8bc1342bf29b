"""Write the small checkpoints that make test holds: python -m tests.peers.write NAME, in the
environment of the package.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path

import torch

from .log import Size, histories

CHECKPOINTS = Path(__file__).parents[1] / "convert" / "checkpoints"


def main(name: str) -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    folder = CHECKPOINTS / name
    folder.mkdir(parents=True, exist_ok=True)
    size = Size()
    log = histories(size)
    items = sorted({item for history in log for item in history})
    peer = import_module(f".{name}", __package__).Peer(log, size)
    file = peer.save(folder)
    shown = log[:10]
    expected = {"histories": shown, "items": items, "scores": peer.scores(shown, items).tolist()}
    (folder / "expected.json").write_text(json.dumps(expected) + "\n")
    print(f"{file}: {file.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(*sys.argv[1:])
