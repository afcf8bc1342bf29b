"""A whole training run: from prepared data to a run folder.

The folder holds run.json (settings), config.json and model.safetensors (the best model), items.parquet (raw item ids),
checkpoints/last.ckpt (to resume), logs/ (CSV), tensorboard/, and curves.png.
"""

from __future__ import annotations

import logging
import shutil
import warnings
from pathlib import Path

import lightning
import torch
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from rich.console import Console

from ..data import ClozeBatches, PreparedData, leave_one_out
from ..errors import InputError
from ..files import atomic_write
from ..model import BERT4Rec
from .checkpoints import LAST, AtomicCheckpointIO, Interrupted, KeepBest, KeepLast, read_checkpoint
from .curves import draw_curves
from .module import MONITOR, ClozeModule, Validate
from .progress import RunProgress
from .settings import RunFile

CHECKPOINT_EVERY = 200  # steps


def train(
    run: str | Path,
    file: RunFile | None = None,
    *,
    overwrite: bool = False,
    checkpoint_every: int = CHECKPOINT_EVERY,
    console: Console | None = None,
) -> float:
    """Train into a run folder and return the best validation NDCG@10.

    file: what to train from; None resumes the run where its last checkpoint is, bit for bit as if it had never stopped.
    Raises InputError for a folder that holds a run already (unless overwrite) or none to resume, and for data or settings that do not work;
    Interrupted after Ctrl-C, when the checkpoint is written.
    """
    run, console = Path(run), console or Console(stderr=True)
    resume = file is None
    checkpoint = read_checkpoint(run / LAST) if resume and RunFile.read(run) else None
    if file is None:
        file = RunFile.read(run)
    elif run.exists():
        _check_room(run, overwrite)
    settings = file.settings
    torch.set_num_threads(file.threads)
    data = PreparedData.open(file.data)
    split = leave_one_out(data.sequences)
    config = settings.model_config(data.sequences.num_items)
    try:
        batches = ClozeBatches(
            split.train,
            max_length=settings.max_length,
            batch_size=settings.batch_size,
            max_tokens=settings.max_tokens,
            mask_prob=settings.mask_prob,
            last_only=settings.last_only,
            seed=settings.seed,
            window_stride=settings.window_stride,
        )
    except ValueError as error:
        raise InputError(str(error)) from None
    torch.manual_seed(settings.seed)
    model = BERT4Rec(config)
    if config.loss == "sampled" and config.sampler == "popularity":
        model.set_item_counts(torch.from_numpy(split.train.counts()[1:]))
    if not resume:
        if overwrite and run.exists():
            shutil.rmtree(run)  # only now that data and settings are known to be good
        with atomic_write(run / RunFile.NAME) as path:
            path.write_text(file.to_json())
        data.item_ids.copy_to(run / "items.parquet")
    module = ClozeModule(model, split, settings, total_steps=settings.epochs * len(batches))
    if checkpoint is not None:
        _check_fits(checkpoint, module, run / LAST)
        # Lightning restores a loader within an epoch only; after an epoch's end it would start with the batches of the first.
        batches.load_state_dict(checkpoint["loops"]["fit_loop"]["state_dict"]["combined_loader"][0])
        if _stopped_early(checkpoint):
            return checkpoint["callbacks"]["KeepBest"]["best"]

    keep_best = KeepBest(run)
    callbacks: list[lightning.Callback] = [Validate(), keep_best, RunProgress(console, keep_best)]
    if settings.patience is not None:
        callbacks.append(EarlyStopping(MONITOR, patience=settings.patience, mode="max", check_on_train_epoch_end=True))
    callbacks.append(KeepLast(run, checkpoint_every))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
        trainer = lightning.Trainer(
            max_epochs=settings.epochs,
            accelerator="auto",
            devices=1,
            logger=[CSVLogger(run, name="logs"), TensorBoardLogger(run, name="tensorboard", version="")],
            callbacks=callbacks,
            plugins=[AtomicCheckpointIO()],
            gradient_clip_val=settings.clip or None,
            log_every_n_steps=min(10, len(batches)),
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        try:
            trainer.fit(module, batches, ckpt_path=run / LAST if resume else None)
        finally:
            if any(run.glob("logs/version_*/metrics.csv")):
                draw_curves(run)
    return keep_best.best


def _check_room(run: Path, overwrite: bool) -> None:
    """A folder that holds a run may be replaced when that is asked for; one that holds something else is never touched."""
    if not run.is_dir() or any(run.iterdir()):
        if not (run / RunFile.NAME).is_file():
            raise InputError(f"{run}: exists and is not a training run; it is left alone, choose another `out`")
        if not overwrite:
            raise InputError(f"{run}: holds a run already; `resume` continues it, `overwrite` replaces it")


def _stopped_early(checkpoint: dict) -> bool:
    """Whether early stopping ended the run: Lightning would train one more epoch before it notices."""
    return any(state.get("stopped_epoch") for state in checkpoint["callbacks"].values())


def _check_fits(checkpoint: dict, module: ClozeModule, path: Path) -> None:
    shapes = {name: tensor.shape for name, tensor in module.state_dict().items()}
    theirs = {name: tensor.shape for name, tensor in checkpoint["state_dict"].items()}
    if shapes != theirs:
        name = next(iter(sorted(shapes.items() ^ theirs.items())))[0]
        raise InputError(f"{path}: is of another model than run.json describes: {name} is {theirs.get(name)}, not {shapes.get(name)}")


__all__ = ["Interrupted", "train"]
