"""BERT4Rec as Lightning trains it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, cast

import lightning
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from ..data import ClozeBatch, LeaveOneOut
from ..evaluation import Ranker, held_out_losses, metrics_from_ranks, rank_held_out
from ..model import BERT4Rec
from ..optim import RowwiseAdamW
from .settings import TrainSettings

MONITOR, HITS = "val_ndcg@10", "val_hr@10"
MINUTES = "minutes"  # of a checkpoint, and logged at every validation
VALIDATION_LOSSES = {"full": "val_loss", "sampled": "val_sampled_loss"}


class ClozeModule(lightning.LightningModule):
    """The Cloze loss, AdamW with warm-up and a schedule, and the running mean of the weights.

    Dropout, masks and order follow from the batch's own seed, so no generator's state belongs to a
    checkpoint.
    """

    def __init__(
        self, model: BERT4Rec, split: LeaveOneOut, settings: TrainSettings, total_steps: int
    ) -> None:
        super().__init__()
        self.model, self.split, self.settings, self.total_steps = (
            model,
            split,
            settings,
            total_steps,
        )
        self.average = (
            AveragedModel(model, multi_avg_fn=_average(settings.ema)) if settings.ema else None
        )
        self.earlier_minutes, self._begun = 0.0, time.monotonic()
        self.validation_minutes = 0.0

    @property
    def served(self) -> BERT4Rec:
        """What is validated and kept: the running mean of the model, if there is one."""
        return cast(BERT4Rec, self.model if self.average is None else self.average.module)

    @property
    def minutes(self) -> float:
        """Since training began, without what lay between an interruption and its resumption."""
        return self.earlier_minutes + (time.monotonic() - self._begun) / 60

    def progress(self, step: int) -> float:
        """The share of the run that is behind a step, 1 at its end."""
        share, limit = step / self.total_steps, self.settings.max_minutes
        return min(1.0, share if limit is None else max(share, self.minutes / max(limit, 1e-9)))

    def training_step(self, batch: ClozeBatch, _: int) -> Tensor:
        loss = self.model(batch.inputs, batch.labels, weights=batch.weights, seed=batch.seed).loss
        self.log("loss", loss.detach(), batch_size=1)
        return loss

    def optimizer_step(self, *arguments, **options) -> None:
        super().optimizer_step(*arguments, **options)
        if self.average is not None:
            self.average.update_parameters(self.model)

    def on_train_batch_end(self, outputs, batch, batch_idx) -> None:
        if self.progress(self.global_step) >= 1:
            self.trainer.should_stop = True

    def validates(self, epoch: int) -> bool:
        """Whether there is a validation at its end."""
        due = (epoch + 1) % self.settings.eval_every == 0
        return due or epoch + 1 >= self.settings.epochs or self.trainer.should_stop

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint[MINUTES] = {"all": self.minutes, "validation": self.validation_minutes}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        minutes = checkpoint.get(MINUTES)  # none in one of an earlier version
        if minutes is not None:
            self.earlier_minutes = minutes["all"]
            self.validation_minutes = minutes["validation"]

    def transfer_batch_to_device(
        self, batch: ClozeBatch, device: torch.device, _: int
    ) -> ClozeBatch:
        return ClozeBatch(
            batch.inputs.to(device, non_blocking=True),
            batch.labels.to(device),
            batch.seed.to(device),
            None if batch.weights is None else batch.weights.to(device),
        )

    def configure_optimizers(self):
        decayed = [p for p in self.model.parameters() if p.dim() > 1]
        others = [p for p in self.model.parameters() if p.dim() <= 1]
        optimizer = RowwiseAdamW(
            [
                {"params": decayed, "weight_decay": self.settings.weight_decay},
                {"params": others, "weight_decay": 0.0},
            ],
            lr=self.settings.learning_rate,
            fused=True,  # one pass over each parameter and its moments instead of a dozen
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_start(self) -> None:
        """A run that goes on for longer than it began with has the rate of the longer schedule
        from its first step on, not the 0 that the shorter one ended with.
        """
        self._begun = time.monotonic()
        schedule = self.lr_schedulers()
        for group, rate in zip(self.optimizers().param_groups, schedule.base_lrs):  # type: ignore[union-attr]
            group["lr"] = rate * self._rate(schedule.last_epoch)  # type: ignore[union-attr]

    def configure_gradient_clipping(
        self, optimizer, gradient_clip_val=None, gradient_clip_algorithm=None
    ) -> None:
        """Scale all gradients so that their norm is at most this; Lightning's own takes no sparse
        ones.
        """
        if gradient_clip_val is None:
            return
        gradients = []
        for p in self.model.parameters():
            if p.grad is not None and p.grad.is_sparse:
                p.grad = p.grad.coalesce()
            if p.grad is not None:
                gradients.append(p.grad.values() if p.grad.is_sparse else p.grad)
        norm = torch.nn.utils.get_total_norm(gradients)
        torch._foreach_mul_(gradients, (gradient_clip_val / (norm + 1e-6)).clamp(max=1.0))

    def _rate(self, step: int) -> float:
        """The share of the learning rate at a step: up over the warm-up, then down to 0 at the end
        of the run, by the schedule.
        """
        warmup = min(self.settings.warmup_steps, self.total_steps // 2)
        if step < warmup:
            return (step + 1) / (warmup + 1)
        left = (1.0 - self.progress(step)) / (1.0 - warmup / self.total_steps)
        return FALLING[self.settings.schedule](min(1.0, left))


# Of the rate, by the share of the run that is left.
FALLING: dict[str, Callable[[float], float]] = {
    "linear": lambda left: left,
    "cosine": lambda left: 0.5 - 0.5 * math.cos(math.pi * left),
    "constant": lambda left: min(1.0, 3 * left),
}


def _average(decay: float) -> Callable:
    """How AveragedModel takes a step: with as short a memory as there have been steps, at first."""

    @torch.no_grad()
    def average(averaged, current, steps) -> None:
        share = 1 - min(decay, (1 + int(steps)) / (10 + int(steps)))
        torch._foreach_lerp_(averaged, current, share)

    return average


class Validate(lightning.Callback):
    """Ranks the validation items at the end of an epoch that has a validation, and logs their loss:
    over the whole catalogue, and the sampled one too where that is trained on, which may be low for
    nothing.

    Not Lightning's validation loop: a run resumed from the checkpoint of an epoch's end skips that
    loop once, and early stopping then stops elsewhere than in the uninterrupted run.

    progress is called with the share of the users that is done.
    """

    def __init__(self, progress: Callable[[float], None] = lambda share: None) -> None:
        self.progress = progress

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: ClozeModule) -> None:  # type: ignore[override]
        if not module.validates(trainer.current_epoch):
            return
        begun = time.monotonic()
        users, done = len(module.split.users), 0

        def progress(more: int) -> None:
            nonlocal done
            done += more
            self.progress(done / users)

        ranks = rank_held_out(
            Ranker.of_model(module.served),
            module.split,
            "validation",
            exclude_seen=module.settings.exclude_seen,
            progress=progress,
        )
        metrics = metrics_from_ranks(ranks)
        for logged, name in ((MONITOR, "NDCG@10"), (HITS, "HR@10")):
            module.log(logged, metrics[name], batch_size=1)
        for name, loss in held_out_losses(module.served, module.split, "validation").items():
            module.log(VALIDATION_LOSSES[name], loss, batch_size=1)
        module.validation_minutes += (time.monotonic() - begun) / 60
        module.log(MINUTES, module.minutes, batch_size=1)
        module.log("validation_share", module.validation_minutes / module.minutes, batch_size=1)
