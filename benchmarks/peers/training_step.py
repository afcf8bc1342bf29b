"""What every peer's module builds: a model with its optimizer, and the parts of a training step on
a batch.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..batch import Batch


class TrainingStep:
    """forward, backward and optimize are what is timed, in this order; load hands over a batch
    beforehand.

    prepare: brings a batch into the form that the model takes, outside the timing, and returns the
    function that computes the loss. static_shapes: another batch makes the model compile anew, so
    it is warmed up on the batch that is measured. optimizer: AdamW in one fused pass over the
    parameters, for all but sparse gradients.
    """

    def __init__(
        self,
        model: nn.Module,
        prepare: Callable[[Batch], Callable[[], Tensor]],
        versions: str,
        static_shapes: bool = False,
        optimizer: type[torch.optim.AdamW] = torch.optim.AdamW,
    ) -> None:
        self.model, self.prepare, self.versions, self.static_shapes = (
            model.train(),
            prepare,
            versions,
            static_shapes,
        )
        self.optimizer = optimizer(model.parameters(), lr=1e-4, fused=True)

    def load(self, batch: Batch) -> None:
        self.compute_loss = self.prepare(batch)

    def forward(self) -> Tensor:
        return self.compute_loss()

    def backward(self, loss: Tensor) -> None:
        loss.backward()

    def optimize(self) -> None:
        self.optimizer.step()
        self.optimizer.zero_grad()
