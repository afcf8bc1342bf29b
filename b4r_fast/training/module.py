"""BERT4Rec as Lightning trains it."""

from __future__ import annotations

from collections.abc import Callable

import lightning
import torch
from torch import Tensor

from ..data import ClozeBatch, LeaveOneOut
from ..evaluation import Ranker, held_out_losses, metrics_from_ranks, rank_held_out
from ..model import BERT4Rec
from ..optim import RowwiseAdamW
from .settings import TrainSettings

MONITOR = "val_ndcg@10"
VALIDATION_LOSSES = {"full": "val_loss", "sampled": "val_sampled_loss"}


class ClozeModule(lightning.LightningModule):
    """The Cloze loss, AdamW with warm-up and linear decay, and the full ranking of the validation
    items after each epoch.

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

    def training_step(self, batch: ClozeBatch, _: int) -> Tensor:
        loss = self.model(batch.inputs, batch.labels, seed=batch.seed).loss
        self.log("loss", loss.detach(), batch_size=1)
        return loss

    def transfer_batch_to_device(
        self, batch: ClozeBatch, device: torch.device, _: int
    ) -> ClozeBatch:
        return ClozeBatch(
            batch.inputs.to(device, non_blocking=True),
            batch.labels.to(device),
            batch.seed.to(device),
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
        """A run that goes on for more epochs than it began with has the rate of the longer schedule
        from its first step on, not the 0 that the shorter one ended with.
        """
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
        for p in self.parameters():
            if p.grad is not None and p.grad.is_sparse:
                p.grad = p.grad.coalesce()
            if p.grad is not None:
                gradients.append(p.grad.values() if p.grad.is_sparse else p.grad)
        norm = torch.nn.utils.get_total_norm(gradients)
        torch._foreach_mul_(gradients, (gradient_clip_val / (norm + 1e-6)).clamp(max=1.0))

    def _rate(self, step: int) -> float:
        """The share of the learning rate at a step: up over the warm-up, then down to 0 at the last
        step.
        """
        warmup = min(self.settings.warmup_steps, self.total_steps // 2)
        if step < warmup:
            return (step + 1) / (warmup + 1)
        return max(0.0, (self.total_steps - step) / max(1, self.total_steps - warmup))


class Validate(lightning.Callback):
    """Ranks the validation items at the end of every epoch, and logs their loss: over the whole
    catalogue, and the sampled one too where that is trained on, which may be low for nothing.

    Not Lightning's validation loop: a run resumed from the checkpoint of an epoch's end skips that
    loop once, and early stopping then stops elsewhere than in the uninterrupted run.

    progress is called with the share of the users that is done.
    """

    def __init__(self, progress: Callable[[float], None] = lambda share: None) -> None:
        self.progress = progress

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: ClozeModule) -> None:  # type: ignore[override]
        users, done = len(module.split.users), 0

        def progress(more: int) -> None:
            nonlocal done
            done += more
            self.progress(done / users)

        ranks = rank_held_out(
            Ranker.of_model(module.model),
            module.split,
            "validation",
            exclude_seen=module.settings.exclude_seen,
            progress=progress,
        )
        module.log(MONITOR, metrics_from_ranks(ranks)["NDCG@10"], batch_size=1)
        for name, loss in held_out_losses(module.model, module.split, "validation").items():
            module.log(VALIDATION_LOSSES[name], loss, batch_size=1)
