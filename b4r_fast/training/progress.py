"""What a person sees while a model trains: one bar over the whole run, and a line for
each epoch.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

import lightning
from rich.console import Console, ConsoleRenderable, RenderHook
from rich.control import Control
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.segment import ControlType, Segment
from rich.table import Column, Table

from .checkpoints import KeepBest
from .module import HITS, MONITOR, VALIDATION_LOSSES

LINE_EVERY = 60  # seconds, where there is no terminal for a bar
WHOLE = Column(no_wrap=True)  # so that it is the bar that gives way
# What the bar shows, and from what width of it on: with 400,000 steps all of it fits in there.
COLUMNS: list[tuple[int, ProgressColumn]] = [
    (0, TextColumn("{task.description}")),
    (46, BarColumn(bar_width=None)),
    (25, MofNCompleteColumn(table_column=WHOLE)),
    (58, TextColumn("loss {task.fields[loss]}")),
    (78, TextColumn("{task.fields[rate]} tokens/s")),
    (38, TextColumn("left")),
    (38, TimeRemainingColumn(table_column=WHOLE)),
    (98, TextColumn("gone")),
    (98, TimeElapsedColumn(table_column=WHOLE)),
]
WIDEST = 98  # a line that ends there stays whole while a wide window gets narrower
ECHO = len("^C")  # which the terminal writes behind the bar, and must not break the line for


def _escape(sequence: str) -> Control:
    control = Control()
    control.segment = Segment(sequence, None, [(ControlType.CARRIAGE_RETURN,)])
    return control


class OneLine(Progress, RenderHook):
    """A bar that is one line on a terminal of any width, also where that changes.

    A terminal that got narrower breaks the line that stands there, and breaks what is drawn until
    we hear of it; rich erases the last part alone, so each of these would leave a line behind.
    """

    def __init__(self, console: Console) -> None:
        self.terminal, self.width = console, 0
        super().__init__(console=console, transient=True, disable=not console.is_interactive)

    def make_tasks_table(self, tasks: Iterable[Task]) -> Table:
        width = max(1, min(self.terminal.width - ECHO, WIDEST))
        if self.width > self.terminal.width:
            self.live._live_render._shape = (width, -(-self.width // self.terminal.width))
        self.width = width
        self.columns = tuple(column for least, column in COLUMNS if width >= least)
        table = super().make_tasks_table(tasks)
        table.width = width
        return table

    def start(self) -> None:
        super().start()
        if self.live.is_started:
            self.terminal.push_render_hook(self)

    def stop(self) -> None:
        if self.live.is_started:
            self.terminal.pop_render_hook()
        super().stop()

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        """The terminal does not break the bar, which comes last."""
        *before, bar = renderables
        return [*before, _escape("\x1b[?7l"), bar, _escape("\x1b[?7h")]


class RunProgress(lightning.Callback):
    """Loss, tokens/s and the time left, of validation how much is done; tokens/s over the epoch so
    far, validation left out.

    Without a terminal, as in a job's log, a line every minute.
    """

    def __init__(self, console: Console, keep_best: KeepBest) -> None:
        self.console, self.keep_best = console, keep_best
        self.bar = OneLine(console)

    def on_train_start(self, trainer, module) -> None:
        self.task = self.bar.add_task(
            "training",
            total=self._of(module, 1.0),
            completed=self._of(module, module.progress(trainer.global_step)),
            loss="-",
            rate="-",
        )
        self.bar.start()
        self.printed = time.monotonic()
        # A run that resumes within an epoch does not start it.
        self._start_epoch(trainer.current_epoch)

    def _of(self, module, share: float) -> int:
        """What the bar counts: steps, or hundredths of the minutes that a run has."""
        return round(share * (100 if module.settings.max_minutes else module.total_steps))

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
            completed=self._of(module, module.progress(trainer.global_step)),
            loss=f"{self.losses[-1]:.3f}",
            rate=f"{self.tokens / self.seconds:,.0f}",
        )
        if self.bar.disable and time.monotonic() - self.printed >= LINE_EVERY:
            self.printed = time.monotonic()
            self.console.print(
                f"{place(module, trainer.global_step)}  {clock(module.minutes)}  loss"
                f" {self.losses[-1]:.4f}  {self.tokens / self.seconds:,.0f} tokens/s",
                highlight=False,
                soft_wrap=True,
            )

    def validated(self, share: float) -> None:
        """How much of the validation that runs is done."""
        self.bar.update(self.task, description=f"ranked {share:.0%}")

    def on_train_epoch_end(self, trainer, module) -> None:
        loss = sum(self.losses) / max(1, len(self.losses))
        rate = self.tokens / max(self.seconds, 1e-9)
        found, metrics = "", trainer.callback_metrics
        if module.validates(trainer.current_epoch):
            best = "  best so far" if self.keep_best.best_epoch == trainer.current_epoch else ""
            found = (
                f"  validation loss {validation_losses(metrics)}"
                f"  NDCG@10 {float(metrics[MONITOR]):.4f}  HR@10 {float(metrics[HITS]):.4f}{best}"
            )
        self.console.print(
            f"epoch {trainer.current_epoch + 1:>3}  {clock(module.minutes)}  {rate:>7,.0f}"
            f" tokens/s  loss {loss:.4f}{found}",
            highlight=False,
            soft_wrap=True,
        )

    def teardown(self, trainer, module, stage) -> None:
        self.bar.stop()

    def on_exception(self, trainer, module, exception) -> None:
        """Then there is no teardown, and the bar would stay below what is said last."""
        self.bar.stop()


def place(module, step: int) -> str:
    """Where a run is."""
    if (minutes := module.settings.max_minutes) is None:
        return f"step {step:,} of {module.total_steps:,}"
    return f"step {step:,}, {module.progress(step):.0%} of {minutes:g} minutes"


def clock(minutes: float) -> str:
    """h:mm:ss."""
    seconds = round(60 * minutes)
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def validation_losses(metrics) -> str:
    """The full loss, and the sampled one beside it where there is one."""
    full, sampled = (metrics.get(VALIDATION_LOSSES[name]) for name in ("full", "sampled"))
    return f"{full:.4f}" if sampled is None else f"{full:.4f} (sampled {sampled:.4f})"
