"""Checkpoints that are whole or not there: last.ckpt to resume from, and the best model for use."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch import callbacks
from lightning.pytorch.plugins.io import CheckpointIO

from ..files import atomic_write
from ..signals import heeded
from .folder import LAST
from .module import MONITOR
from .restore import read_checkpoint


class AtomicCheckpointIO(CheckpointIO):
    """Writes beside the old checkpoint and replaces it when all is on disk; reads tensors and plain
    values only, never code.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        with atomic_write(path) as temporary:
            try:
                torch.save(checkpoint, temporary)
            # torch's zip writer hides the system's reason, a full disk most of the time
            except RuntimeError as error:
                raise OSError(f"{str(error).splitlines()[0]} (is the disk full?)") from error

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        return read_checkpoint(Path(path))

    def remove_checkpoint(self, path: str | Path) -> None:
        Path(path).unlink(missing_ok=True)


class Interrupted(Exception):
    """A signal asked the run to stop, and the last checkpoint is written.

    validated: whether the model that the run folder has is the best of an epoch, or else that of
    the checkpoint.
    """

    def __init__(self, number: int, validated: bool) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number, self.validated = number, validated


class StoppedAtOnce(BaseException):
    """Ctrl-C while the run stops already. Not KeyboardInterrupt, at which Lightning exits itself,
    with 1 and without a word.
    """


class Diverged(Exception):
    """The loss or a weight is no finite number any more, and nothing of that is saved."""


class StopWhereDiverged(lightning.Callback):
    """Stops at a loss that is no finite number, and before a model with such a weight is ranked.

    The first of all callbacks, so that none keeps what came of it.
    """

    def __init__(self, run: Path) -> None:
        self.path = run / LAST

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        if not torch.isfinite(outputs["loss"]):
            raise diverged(f"the loss is {float(outputs['loss'])}", trainer.global_step, self.path)

    def on_train_epoch_end(self, trainer, module) -> None:
        check_weights(module, trainer.global_step, self.path)


def check_weights(module: lightning.LightningModule, step: int, path: Path) -> None:
    """Raises Diverged for weights that the last step left not finite: its loss was that of the
    weights before it.
    """
    for name, weight in module.named_parameters():
        if not torch.isfinite(weight).all():
            raise diverged(f"{name} holds numbers that are not finite", step, path)


def diverged(what: str, step: int, path: Path) -> Diverged:
    kept = (
        f"{path} is the last checkpoint before it"
        if path.exists()
        else "there was no checkpoint yet"
    )
    return Diverged(
        f"training diverged: {what} at step {step}; {kept}; `train` anew with a lower"
        " `learning_rate`, a larger `warmup_steps` or a smaller `clip`"
    )


class KeepLast(callbacks.Checkpoint):
    """Writes last.ckpt every so many steps, after every epoch's validation, and when a signal asks
    the run to stop, at the end of the step that is running. Until an epoch is validated the model
    of the run folder is that of the checkpoint.

    A Checkpoint, because those come after all other callbacks at an epoch's end, early stopping
    included, and so save what they have noted.
    """

    def __init__(self, run: Path, every_steps: int, keep_best: KeepBest) -> None:
        self.run, self.path, self.every_steps = run, run / LAST, every_steps
        self.keep_best = keep_best
        self.signal: int | None = None
        self._heeding = ExitStack()

    def on_train_start(self, trainer, module) -> None:
        self._heeding.enter_context(heeded(self._on_signal))

    def teardown(self, trainer, module, stage) -> None:
        self._heeding.close()

    def on_exception(self, trainer, module, exception) -> None:
        """Then there is no teardown, and signals would go on to be taken and not obeyed."""
        self.teardown(trainer, module, "fit")

    def _on_signal(self, number: int, _) -> None:
        if self.signal is not None and number == signal.SIGINT:
            raise StoppedAtOnce
        self.signal = number

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        if trainer.is_last_batch:
            # the epoch's end comes next; a run resumed between the two would miss its validation
            return
        if self.signal or trainer.global_step % self.every_steps == 0:
            check_weights(module, trainer.global_step, self.path)
            trainer.save_checkpoint(self.path)
            if not self.keep_best.validated:
                module.served.save_pretrained(self.run)
        self._stop_if_asked()

    def on_train_epoch_end(self, trainer, module) -> None:
        trainer.save_checkpoint(self.path)
        self._stop_if_asked()

    def _stop_if_asked(self) -> None:
        if self.signal:
            raise Interrupted(self.signal, self.keep_best.validated)


class EarlyStopping(callbacks.EarlyStopping):
    """Counts the validations that were no better, not the epochs without one.

    Of Lightning's name, under which checkpoints keep its count.
    """

    def on_train_epoch_end(self, trainer, module) -> None:
        if module.validates(trainer.current_epoch):
            super().on_train_epoch_end(trainer, module)


class KeepBest(lightning.Callback):
    """Saves the model with the best validation NDCG@10 as config.json and model.safetensors of the
    run folder.
    """

    def __init__(self, run: Path) -> None:
        self.run, self.best, self.best_epoch = run, -1.0, -1

    @property
    def validated(self) -> bool:
        """Whether an epoch has been."""
        return self.best_epoch >= 0

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "best_epoch": self.best_epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best, self.best_epoch = state["best"], state["best_epoch"]

    def on_train_epoch_end(self, trainer, module) -> None:
        if not module.validates(trainer.current_epoch):
            return
        value = float(trainer.callback_metrics[MONITOR])
        if value > self.best:
            self.best, self.best_epoch = value, trainer.current_epoch
            module.served.save_pretrained(self.run)
