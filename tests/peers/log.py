"""What every package is shown: a log whose item names say nothing."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np


@dataclass(frozen=True)
class Size:
    """Of a model, and of what it is trained on. length: of its sequences, [MASK] with them."""

    length: int = 8
    hidden: int = 8
    heads: int = 2
    dropout: float = 0.1
    users: int = 40
    items: int = 25
    batch: int = 8
    epochs: int = 3


def histories(size: Size) -> list[list[str]]:
    """A list a user, oldest first, from 2 items to more than a model reads; no item twice."""
    generator = np.random.default_rng(0)
    names = [f"{number:x}" for number in generator.permutation(2**24)[: size.items]]
    lengths = generator.integers(2, min(size.length + 4, size.items), size.users)
    return [[names[i] for i in generator.permutation(size.items)[:length]] for length in lengths]


@dataclass
class Watch:
    """The loss of every training step, and how long it took."""

    losses: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    begun: float = 0.0

    def start(self) -> None:
        self.begun = time.perf_counter()

    def stop(self, loss: float) -> None:
        self.seconds.append(time.perf_counter() - self.begun)
        self.losses.append(loss)

    def callback(self, lightning: Any) -> Any:
        """Of Lightning, under the name that a package imports it by."""

        class Watching(lightning.Callback):  # type: ignore[name-defined]
            def on_train_batch_start(_, *arguments) -> None:
                self.start()

            def on_train_batch_end(_, trainer, module, outputs, *arguments) -> None:
                self.stop(float(outputs["loss"]))

        return Watching()

    def trainer(self, lightning: Any, epochs: int) -> Any:
        return lightning.Trainer(
            max_epochs=epochs,
            accelerator="cpu",
            callbacks=[self.callback(lightning)],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )


class Peer(Protocol):
    """A trained model of a package, trained by the package."""

    watch: Watch

    def __init__(self, log: list[list[str]], size: Size) -> None: ...

    def save(self, folder: Path) -> Path:
        """Where the checkpoint is, as the package writes it."""

    def scores(self, histories: list[list[str]], items: list[str]) -> Any:
        """(histories, items), by the package's own inference."""
