"""A peer's run, in its environment: python -m benchmarks.accuracy.train_peer NAME FOLDER RESULT,
with settings as JSON on standard input; the result is written as JSON when all is done.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path

import torch

from .contender import PACKAGES, Size, measure


def main(name: str, folder: str, result: str) -> None:
    settings = json.load(sys.stdin)
    torch.set_num_threads(settings.pop("threads"))
    curve: list[dict] = []

    def tell(validation: dict) -> None:
        curve.append(validation)
        print(
            f"{name}: {validation['minutes']:5.1f} minutes, validation NDCG@10"
            f" {validation['NDCG@10']:.4f}",
            flush=True,
        )

    size = Size(**settings.pop("size"))
    test = measure(name, Path(folder), size, tell=tell, **settings)
    package = PACKAGES[name]
    found = {"version": f"{package} {version(package)}", "curve": curve, "test": test}
    Path(result).write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
