"""A whole training run: from prepared data to a run folder.

The folder holds run.json (settings), config.json and model.safetensors (the best model),
items.parquet (raw item ids), checkpoints/last.ckpt (to resume), logs/ (CSV), tensorboard/, and
curves.png.
"""

from __future__ import annotations

import logging
import warnings
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from rich.console import Console

from ..data import (
    Batches,
    ClozeBatches,
    DrawnBatches,
    PreparedData,
    Sequences,
    leave_one_out,
)
from ..data.fingerprint import fingerprint
from ..errors import InputError
from ..model import BERT4Rec
from .checkpoints import (
    AtomicCheckpointIO,
    Diverged,
    EarlyStopping,
    Interrupted,
    KeepBest,
    KeepLast,
    StoppedAtOnce,
    StopWhereDiverged,
)
from .curves import draw_curves, read_metrics
from .folder import LAST, check_room, start_folder, write_run_file
from .init_items import init_items
from .init_model import init_model
from .init_values import identity_values
from .lock import locked
from .memory import check_memory
from .module import MONITOR, ClozeModule, Validate
from .origin import ITEMS, open_data
from .progress import RunProgress
from .restore import best_if_stopped, best_of, minutes_of, read_checkpoint, restore
from .sampler_fit import warning_of_sampler
from .settings import CHECKPOINT_EVERY, RunFile, TrainSettings

VALIDATION_SEED = 7  # of the users that are ranked, alike in all runs, which then compare


def train(
    run: str | Path,
    file: RunFile | None = None,
    *,
    data: str | Path | None = None,
    epochs: int | None = None,
    max_minutes: float | None = None,
    overwrite: bool = False,
    checkpoint_every: int = CHECKPOINT_EVERY,
    console: Console | None = None,
) -> float:
    """Train into a run folder and return the best validation NDCG@10.

    file: what to train from; None resumes the run where its last checkpoint is, bit for bit as if
    it had never stopped. data: of a run that is resumed, where its data lies now, when not where
    run.json says; epochs, max_minutes: for how many it goes on, counted from the first, when not
    for as many as it began with. Raises InputError for a folder that holds a run already (unless
    overwrite) or none to resume, and for data or settings that do not work; Interrupted after a
    signal such as Ctrl-C's, when the checkpoint is written; Diverged where the loss is no finite
    number.
    """
    run, console = Path(run), console or Console(stderr=True)
    if file is None:
        RunFile.read(run)  # a folder that is no run gets no lock
        with locked(run):
            return _resume(run, data, epochs, max_minutes, checkpoint_every, console)
    check_room(run, overwrite)
    torch.set_num_threads(file.threads)
    prepared = PreparedData.open(str(file.data))
    module, batches = build(prepared, file.settings)
    file = replace(file, fingerprint=fingerprint(prepared))
    with locked(run):
        check_room(run, overwrite)  # another process may have come first
        start_folder(run, file)
        prepared.item_ids.copy_to(run / ITEMS)
        return fit(
            run, module, batches, resume=False, checkpoint_every=checkpoint_every, console=console
        )


def _resume(
    run: Path,
    data: str | Path | None,
    epochs: int | None,
    max_minutes: float | None,
    checkpoint_every: int,
    console: Console,
) -> float:
    file = RunFile.read(run)
    if file.data is None:
        raise InputError(
            f"{run}: was {file.preset}, not trained; a run of its own goes on from it: `train` with"
            " `init_from`"
        )
    prepared = open_data(run, file, data)
    if data is not None:
        file = replace(file, data=str(prepared.folder.resolve()))
    limits = {"epochs": epochs, "max_minutes": max_minutes}
    longer: dict[str, Any] = {name: limit for name, limit in limits.items() if limit is not None}
    file = replace(file, settings=replace(file.settings, **longer))
    torch.set_num_threads(file.threads)
    module, batches = build(prepared, file.settings, resumed=(run / LAST).exists())
    checkpoint = None
    had_validated = _has_validated(run)  # reads the metrics, which are to be drawn at the end
    if (run / LAST).exists() or had_validated:
        checkpoint = read_checkpoint(run / LAST)
        restore(checkpoint, module, batches, run / LAST)
        best = best_if_stopped(checkpoint)
        done = {"epochs": batches.epoch, "max_minutes": minutes_of(checkpoint)}
        _check_longer(run, longer, done, stopped=best is not None)
        limit = file.settings.max_minutes
        if best is None and limit is not None and done["max_minutes"] >= limit:
            if longer:
                raise InputError(
                    f"{run}: has trained its {limit:g} minutes; give more `max_minutes`"
                )
            best = best_of(checkpoint)
    write_run_file(run, file)
    if checkpoint is None:
        console.print("no checkpoint was written yet: training starts at its first step")
        prepared.item_ids.copy_to(run / ITEMS)
    elif best is not None:
        return best
    return fit(
        run,
        module,
        batches,
        resume=checkpoint is not None,
        checkpoint_every=checkpoint_every,
        console=console,
    )


def _has_validated(run: Path) -> bool:
    """Whether there was a checkpoint, which then is lost: such a run is not started over."""
    return len(read_metrics(run)[MONITOR]) > 0


def _check_longer(
    run: Path, longer: dict[str, Any], done: dict[str, float], *, stopped: bool
) -> None:
    if longer and stopped:
        raise InputError(
            f"{run}: stopped early, {done['epochs']} epochs being enough for its `patience`; more"
            " would not be trained: `train` anew with a larger `patience`"
        )
    for name, limit in longer.items():
        if limit <= done[name]:
            raise InputError(
                f"`{name}` must be more than the {done[name]:.4g} that {run} has, got {limit}"
            )


def build(
    data: PreparedData, settings: TrainSettings, *, resumed: bool = False
) -> tuple[ClozeModule, Batches]:
    """The model with its weights drawn, and its batches from the first on. resumed: the weights
    come from a checkpoint. Raises InputError for settings that make none.
    """
    split = leave_one_out(data.sequences)
    config = settings.model_config(data.sequences.num_items)
    check_memory(config)
    try:
        batches = make_batches(split.train, settings)
    except ValueError as error:
        raise InputError(str(error)) from None
    torch.manual_seed(settings.seed)
    model = BERT4Rec(config)
    if settings.init_from is not None and not resumed:
        init_model(model, Path(settings.init_from), data)
    if settings.init_items is not None and not resumed:
        init_items(model, settings.init_items, data, split.train, settings.seed)
    if settings.init_values == "identity" and not resumed:
        identity_values(model, settings.seed)
    if config.loss == "sampled" and config.sampler == "popularity":
        model.set_item_counts(torch.from_numpy(split.train.counts()[1:]))
    if settings.validation_users is not None:
        sample = np.random.default_rng(VALIDATION_SEED).permutation(split.users)
        split = replace(split, users=np.sort(sample[: settings.validation_users]))
    return ClozeModule(model, split, settings, total_steps=settings.epochs * len(batches)), batches


def make_batches(train: Sequences, settings: TrainSettings) -> Batches:
    """Raises ValueError for settings that make none."""
    if settings.windows == "strided":
        return ClozeBatches(
            train,
            max_length=settings.max_length,
            batch_size=settings.batch_size,
            max_tokens=settings.max_tokens,
            mask_prob=settings.mask_prob,
            last_only=settings.last_only,
            seed=settings.seed,
            window_stride=settings.window_stride,
        )
    least, most = settings.mask_prob, settings.mask_prob_to
    return DrawnBatches(
        train,
        max_length=settings.max_length,
        batch_size=settings.batch_size or 1,
        mask_prob=(least, least if most is None else most),
        random_ends=settings.random_ends,
        shortest_window=settings.shortest_window,
        grow_epochs=settings.grow_epochs,
        last_items=settings.last_items,
        last_item_weight=settings.last_item_weight,
        last_items_from=settings.last_items_from,
        seed=settings.seed,
    )


def fit(
    run: Path,
    module: ClozeModule,
    batches: Batches,
    *,
    resume: bool,
    checkpoint_every: int,
    console: Console,
) -> float:
    """Train to the end, from the run's last checkpoint where it resumes. Returns the best
    validation NDCG@10.
    """
    settings = module.settings
    if warning := warning_of_sampler(module.model.config, module.split.train):
        console.print(warning, highlight=False, soft_wrap=True)
    keep_best = KeepBest(run)
    progress = RunProgress(console, keep_best)
    callbacks: list[lightning.Callback] = [
        StopWhereDiverged(run),
        Validate(progress.validated),
        keep_best,
        progress,
    ]
    if settings.patience is not None:
        callbacks.append(
            EarlyStopping(
                MONITOR, patience=settings.patience, mode="max", check_on_train_epoch_end=True
            )
        )
    callbacks.append(KeepLast(run, checkpoint_every, keep_best))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
        trainer = lightning.Trainer(
            max_epochs=settings.epochs,
            accelerator="auto",
            devices=1,
            logger=[
                CSVLogger(run, name="logs"),
                TensorBoardLogger(run, name="tensorboard", version=""),
            ],
            callbacks=callbacks,
            plugins=[AtomicCheckpointIO()],
            gradient_clip_val=settings.clip or None,
            log_every_n_steps=min(10, len(batches)),
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        try:
            trainer.fit(module, batches, ckpt_path=run / LAST if resume else None)
        except StoppedAtOnce:
            raise KeyboardInterrupt from None
        except BaseException:
            # A disk that is full would refuse the picture too, and hide what ended the run.
            with suppress(Exception):
                if any(run.glob("logs/version_*/metrics.csv")):
                    draw_curves(run)
            raise
        draw_curves(run)
    return keep_best.best


__all__ = ["Diverged", "Interrupted", "build", "fit", "train"]
