"""What a person sees while a model trains: one bar over the whole run, and a line for
each epoch.
"""

from __future__ import annotations

import time

import lightning
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from .checkpoints import KeepBest
from .module import MONITOR, VALIDATION_LOSSES

LINE_EVERY = 60  # seconds, where there is no terminal for a bar


class RunProgress(lightning.Callback):
    """Loss, tokens/s and the time left; tokens/s over the epoch so far, validation left out.

    Without a terminal, as in a job's log, a line every minute.
    """

    def __init__(self, console: Console, keep_best: KeepBest) -> None:
        self.console, self.keep_best = console, keep_best
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]}  {task.fields[rate]} tokens/s  left"),
            TimeRemainingColumn(),
            TextColumn("gone"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )

    def on_train_start(self, trainer, module) -> None:
        self.task = self.bar.add_task(
            "training", total=module.total_steps, completed=trainer.global_step, loss="-", rate="-"
        )
        self.bar.start()
        self.printed = time.monotonic()
        # A run that resumes within an epoch does not start it.
        self._start_epoch(trainer.current_epoch)

    def on_train_epoch_start(self, trainer, module) -> None:
        self._start_epoch(trainer.current_epoch)

    def _start_epoch(self, epoch: int) -> None:
        self.tokens, self.seconds = 0, 0.0
        self.losses: list[float] = []
        self.bar.update(self.task, description=f"epoch {epoch + 1}")

    def on_train_batch_start(self, trainer, module, batch, batch_idx) -> None:
        self.started = time.perf_counter()

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        self.seconds += time.perf_counter() - self.started
        self.tokens += batch.inputs.values.numel()
        self.losses.append(float(outputs["loss"]))
        module.log("tokens_per_second", self.tokens / self.seconds, batch_size=1)
        self.bar.update(
            self.task,
            completed=trainer.global_step,
            loss=f"{self.losses[-1]:.3f}",
            rate=f"{self.tokens / self.seconds:,.0f}",
        )
        if not self.console.is_terminal and time.monotonic() - self.printed >= LINE_EVERY:
            self.printed = time.monotonic()
            self.console.print(
                f"step {trainer.global_step:,} of {module.total_steps:,}  loss"
                f" {self.losses[-1]:.4f}  {self.tokens / self.seconds:,.0f} tokens/s",
                highlight=False,
            )

    def on_train_epoch_end(self, trainer, module) -> None:
        value = float(trainer.callback_metrics[MONITOR])
        best = "  best so far" if self.keep_best.best_epoch == trainer.current_epoch else ""
        loss = sum(self.losses) / max(1, len(self.losses))
        rate = self.tokens / max(self.seconds, 1e-9)
        self.console.print(
            f"epoch {trainer.current_epoch + 1:>3}  loss {loss:.4f}  validation loss"
            f" {validation_losses(trainer.callback_metrics)}  NDCG@10 {value:.4f} "
            f" {rate:>7,.0f} tokens/s{best}",
            highlight=False,
            soft_wrap=True,
        )

    def teardown(self, trainer, module, stage) -> None:
        self.bar.stop()


def validation_losses(metrics) -> str:
    """The full loss, and the sampled one beside it where there is one."""
    full, sampled = (metrics.get(VALIDATION_LOSSES[name]) for name in ("full", "sampled"))
    return f"{full:.4f}" if sampled is None else f"{full:.4f} (sampled {sampled:.4f})"
