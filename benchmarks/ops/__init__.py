"""The ops that are measured alone: one module an op, and the cases.

A module has LIMIT and count(work, batch): useful operations where "fma" limits it, else numbers
read and written.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from types import ModuleType

from b4r_fast.version import VERSION

from .op import Op


@dataclass(frozen=True)
class Case:
    """op: the module below this package. work: of which shape and batch. options: of the
    contenders.
    """

    title: str
    op: str
    work: str
    options: dict = field(default_factory=dict)

    @property
    def module(self) -> ModuleType:
        return importlib.import_module(f".{self.op}", __package__)

    @property
    def contenders(self) -> dict[str, Callable[..., Op]]:
        return self.module.CONTENDERS | self.on_gpu

    @property
    def peers(self) -> list[str]:
        return [name for name in self.module.CONTENDERS if name != "b4r_fast"]

    @property
    def on_gpu(self) -> dict[str, Callable[..., Op]]:
        """The peers that need a GPU."""
        return getattr(self.module, "ON_GPU", {})


DROPOUT = {"dropout": 0.1}
CASES = {
    case.title: case
    for case in (
        Case("attention, dropout, ML-1M", "attention", "ml-1m", DROPOUT),
        Case("attention, no dropout, ML-1M", "attention", "ml-1m", {"dropout": 0.0}),
        Case("gelu_ffn, ML-1M", "gelu_ffn", "ml-1m"),
        Case("residual_layer_norm, ML-1M", "residual_layer_norm", "ml-1m", DROPOUT),
        Case("embedding_layer_norm, ML-1M", "embedding_layer_norm", "ml-1m", DROPOUT),
        Case("softmax_loss, ML-1M", "softmax_loss", "ml-1m"),
        Case("softmax_loss, Beauty", "softmax_loss", "beauty"),
        Case("softmax_loss, d=256", "softmax_loss", "ml-20m-shape"),
        Case("sampled_softmax_loss, Beauty", "sampled_softmax_loss", "beauty-sampled"),
        Case("topk, 256 users, Beauty", "topk", "beauty"),
        Case("topk, one user, 10 M items", "topk_one_user", "beauty"),
    )
}


def build(case: str, contender: str, work) -> Op:
    found = CASES[case]
    op = found.contenders[contender](work, **found.options)
    op.versions = (
        f"b4r_fast {VERSION}" if contender == "b4r_fast" else f"{op.package} {version(op.package)}"
    )
    return op
