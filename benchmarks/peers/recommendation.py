"""What every peer's module builds for inference: the model in evaluation mode, from histories to
the 10 best items of each user.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from ..batch import Batch

K = 10


class Recommendation:
    """prepare: brings a batch that asks (Batch.asking) into the form that the model takes, and
    returns the function that is timed.
    """

    differentiable = False

    def __init__(
        self,
        model: nn.Module,
        prepare: Callable[[Batch], Callable[[], Any]],
        versions: str,
        static_shapes: bool = False,
    ) -> None:
        self.model, self.prepare, self.versions, self.static_shapes = (
            model,
            prepare,
            versions,
            static_shapes,
        )

    def load(self, batch: Batch) -> None:
        self.recommend = self.prepare(batch.asking())

    @torch.inference_mode()
    def forward(self) -> Any:
        return self.recommend()
