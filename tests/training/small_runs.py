"""A small data set and settings whose runs take about a second; shared by the tests of training,
serving and the command line.
"""

import dataclasses
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from b4r_fast.data import prepare
from b4r_fast.training import RunFile, TrainSettings

# 40 users in batches of 8: 5 steps an epoch. With this patience early stopping ends the run before
# its last epoch.
STEPS, EPOCHS = 5, 10
SETTINGS = TrainSettings(
    max_length=20,
    hidden_size=8,
    num_heads=2,
    num_layers=1,
    batch_size=8,
    epochs=EPOCHS,
    warmup_steps=5,
    patience=2,
    learning_rate=2e-3,
)
# What the presets that reach the published tables are made of.
DRAWN = dataclasses.replace(
    SETTINGS,
    init_items="neighbours",
    windows="drawn",
    mask_prob_to=0.6,
    shortest_window=5,
    grow_epochs=2,
    last_items=6,
    last_items_from=1,
    ema=0.9,
    epochs=4,
    eval_every=3,
    validation_users=25,
    patience=None,
)


def prepare_small_data(folder: Path, items: int = 30) -> Path:
    """Users "u1 ..." with 3 to 19 of the items "i0", "i1" and so on."""
    generator = np.random.default_rng(0)
    rows = ["user\titem\ttime"]
    for user in range(40):
        rows += [
            f"u{user}\ti{item}\t{time}"
            for time, item in enumerate(
                generator.choice(items, generator.integers(3, 20), replace=False)
            )
        ]
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log.tsv"
    log.write_text("\n".join(rows) + "\n")
    prepare(log, folder / "data")
    return folder / "data"


def run_file(data: Path, settings: TrainSettings = SETTINGS) -> RunFile:
    return RunFile(data=str(data), preset="fast", threads=1, settings=settings)


def train_small(run: Path, data: Path, settings: TrainSettings = SETTINGS, **options) -> float:
    from b4r_fast.training.train import train

    return train(run, run_file(data, settings), console=Console(quiet=True), **options)


def last_checkpoint(run: Path) -> dict:
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
